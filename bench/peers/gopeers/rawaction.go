package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
)

// answerWithin bounds everything that the page is asked.
const answerWithin = 10 * time.Second

// rawAction is the least that can be done for an action: the command and the
// result through two streams, and between them one call of the driver's own
// function. Nothing is decoded, checked or verified.
type rawAction struct {
	*broker
	browser *chromium
	tab     string // the session of the tab
	world   int    // the execution context of the page's main world
	sent    int
	open    bool

	working  jetstream.ConsumeContext
	reading  jetstream.ConsumeContext
	results  chan struct{}
	failures chan error
}

func startRawAction(s contend.Setup) (*rawAction, error) {
	ctx := context.Background()
	b, err := startBroker(ctx, filepath.Join(s.Dir, "nats"), "cmd.>")
	if err != nil {
		return nil, err
	}
	r := &rawAction{broker: b, results: make(chan struct{}, 1), failures: make(chan error, 16)}
	if r.browser, err = startChromium(s.Binary, browserFlags(s)); err != nil {
		return nil, err
	}
	if err := r.hold(s); err != nil {
		return nil, errors.Join(err, r.browser.Close())
	}
	commands, err := r.consumer(ctx, streamCommands)
	if err != nil {
		return nil, err
	}
	if r.working, err = commands.Consume(r.handle); err != nil {
		return nil, fmt.Errorf("consuming commands: %w", err)
	}
	results, err := r.consumer(ctx, streamResults)
	if err != nil {
		return nil, err
	}
	if r.reading, err = results.Consume(func(m jetstream.Msg) {
		if err := m.Ack(); err != nil {
			r.failures <- err
		}
		r.results <- struct{}{}
	}); err != nil {
		return nil, fmt.Errorf("consuming results: %w", err)
	}
	return r, nil
}

func browserFlags(s contend.Setup) []string {
	flags := append([]string{
		"--headless", "--user-data-dir=" + filepath.Join(s.Dir, "profile"), "--no-first-run", "--disable-gpu", "--hide-scrollbars",
		"--mute-audio", "--disable-extensions", "--disable-sync", "--window-size=800,600",
		"--disable-renderer-backgrounding", "--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows",
	}, s.Flags...)
	return append(flags, "about:blank")
}

// object is the parameters of a command.
type object = map[string]any

// hold opens the light page in a context of its own, with the driver in it, and
// boots the widget.
func (r *rawAction) hold(s contend.Setup) error {
	var made struct {
		BrowserContextID string `json:"browserContextId"`
		TargetID         string `json:"targetId"`
		SessionID        string `json:"sessionId"`
	}
	if err := r.browser.call("", "Target.createBrowserContext", nil, &made); err != nil {
		return err
	}
	if err := r.browser.call("", "Target.createTarget", object{"url": "about:blank", "browserContextId": made.BrowserContextID}, &made); err != nil {
		return err
	}
	if err := r.browser.call("", "Target.attachToTarget", object{"targetId": made.TargetID, "flatten": true}, &made); err != nil {
		return err
	}
	r.tab = made.SessionID
	provider := botstar.Provider()
	paused, worlds := r.browser.hear("Fetch.requestPaused"), r.browser.hear("Runtime.executionContextCreated")
	for _, step := range []struct {
		method string
		params object
	}{
		{"Page.enable", nil},
		{"Page.addScriptToEvaluateOnNewDocument", object{"source": actions.Script(actions.WorldMain, "bench", provider.Driver.Main), "runImmediately": false}},
		{"Fetch.enable", object{"patterns": []object{{"urlPattern": s.URL, "resourceType": "Document"}}}},
	} {
		if err := r.browser.call(r.tab, step.method, step.params, nil); err != nil {
			return err
		}
	}
	navigated := make(chan error, 1)
	go func() { navigated <- r.browser.call(r.tab, "Page.navigate", object{"url": s.URL}, nil) }()
	page := provider.Light(actions.Site{Name: message.Site})
	if err := r.fulfil(paused, page); err != nil {
		return err
	}
	if err := <-navigated; err != nil {
		return err
	}
	if err := r.browser.call(r.tab, "Fetch.disable", nil, nil); err != nil {
		return err
	}
	if err := r.enter(worlds); err != nil {
		return err
	}
	return r.do("boot", 0, object{
		"settings": object{"appId": s.AppID, "mode": "livechat", "user": object{"user_id": "u-0"}}, "usual_mode": "livechat", "wait_ms": 10000,
	})
}

// fulfil answers the request for the document.
func (r *rawAction) fulfil(paused <-chan json.RawMessage, page string) error {
	var request struct {
		RequestID string `json:"requestId"`
	}
	select {
	case params := <-paused:
		if err := json.Unmarshal(params, &request); err != nil {
			return fmt.Errorf("reading a paused request: %w", err)
		}
	case <-time.After(answerWithin):
		return errors.New("the document was not asked for")
	}
	return r.browser.call(r.tab, "Fetch.fulfillRequest", object{
		"requestId": request.RequestID, "responseCode": 200,
		"responseHeaders": []object{{"name": "content-type", "value": "text/html; charset=utf-8"}},
		"body":            base64.StdEncoding.EncodeToString([]byte(page)),
	}, nil)
}

// enter finds the page's main world.
func (r *rawAction) enter(worlds <-chan json.RawMessage) error {
	if err := r.browser.call(r.tab, "Runtime.enable", nil, nil); err != nil {
		return err
	}
	select {
	case params := <-worlds:
		var created struct {
			Context struct {
				ID int `json:"id"`
			} `json:"context"`
		}
		if err := json.Unmarshal(params, &created); err != nil {
			return fmt.Errorf("reading a world: %w", err)
		}
		r.world = created.Context.ID
	case <-time.After(answerWithin):
		return errors.New("the page has no world")
	}
	return r.browser.call(r.tab, "Runtime.disable", nil, nil)
}

// do calls one function of the driver.
func (r *rawAction) do(name string, n int, arg object) error {
	argument, err := json.Marshal(object{"key": strconv.Itoa(n) + "/" + name, "fence": 1, "arg": arg})
	if err != nil {
		return fmt.Errorf("encoding the argument: %w", err)
	}
	var answer struct {
		Result struct {
			Value string `json:"value"`
		} `json:"result"`
	}
	if err := r.browser.call(r.tab, "Runtime.callFunctionOn", object{
		"functionDeclaration": "function(n,a){return globalThis.__parley.call(n,a)}",
		"executionContextId":  r.world,
		"arguments":           []object{{"value": name}, {"value": string(argument)}},
		"awaitPromise":        true, "returnByValue": true,
	}, &answer); err != nil {
		return err
	}
	var said struct {
		OK      bool   `json:"ok"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal([]byte(answer.Result.Value), &said); err != nil || !said.OK {
		return fmt.Errorf("%s: the page said %s", name, answer.Result.Value)
	}
	return nil
}

// handle does one command: the driver's function, the result, the ack.
func (r *rawAction) handle(m jetstream.Msg) {
	if err := r.act(m); err != nil {
		r.failures <- err
	}
}

func (r *rawAction) act(m jetstream.Msg) error {
	function := "open"
	if r.open {
		function = "close"
	}
	if err := r.do(function, r.sent, object{"wait_ms": 5000}); err != nil {
		return err
	}
	r.open = !r.open
	command := event.Envelope{ID: m.Headers().Get("ce-id"), Type: event.CommandType(message.Open)}
	header, body := event.Encode(message.Result(command))
	header[nats.MsgIdHdr] = []string{"r" + strconv.Itoa(r.sent)}
	stored, err := r.js.PublishMsgAsync(&nats.Msg{Subject: "res.bench", Header: header, Data: body})
	if err != nil {
		return fmt.Errorf("publishing the result: %w", err)
	}
	select {
	case <-stored.Ok():
		return m.Ack()
	case err := <-stored.Err():
		return fmt.Errorf("storing the result: %w", err)
	}
}

// Round publishes one command after another, each when the result of the one
// before it has come.
func (r *rawAction) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	latencies := make([]float64, 0, o.Jobs)
	begun := time.Now()
	for range o.Jobs {
		r.sent++
		command := message.Command(2*r.sent, 0)
		start := time.Now()
		if _, err := r.js.PublishMsg(ctx, commandMsg(command)); err != nil {
			return contend.Report{}, fmt.Errorf("publishing a command: %w", err)
		}
		select {
		case <-r.results:
		case err := <-r.failures:
			return contend.Report{}, err
		case <-ctx.Done():
			return contend.Report{}, errors.New("a result did not come in time")
		}
		latencies = append(latencies, float64(time.Since(start).Nanoseconds())/1000)
	}
	return contend.Report{Jobs: o.Jobs, WallUS: float64(time.Since(begun).Microseconds()), LatenciesUS: latencies}, nil
}

// Close ends the browser and the server.
func (r *rawAction) Close() error {
	r.working.Stop()
	r.reading.Stop()
	return errors.Join(r.browser.Close(), r.broker.Close())
}
