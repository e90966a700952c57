package ours

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/crowd"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/session"
	"github.com/parley-chat/parley/internal/standin"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
	"github.com/parley-chat/parley/internal/visitor"
)

const openAction = "botstar.widget.open"

// visitorOpen opens the chat in a visitor's own tab when an event of his comes:
// events, workflows, worker and gateway in this process, and a browser of the
// visitor's. Beside it, another visitor has the same gateway echo.
type visitorOpen struct {
	*rig
	gate   *gate
	rules  running
	server io.Closer
	tab    *browser.Tab // the visitor's
	echo   *crowd.One
	who    event.Visitor
	sent   int
}

// anybody finds the tab of any visitor.
type anybody struct{ bus *bus.Bus }

// Open implements session.Visitors.
func (a anybody) Open(ctx context.Context, site, name string) (session.FarTab, error) {
	tab, err := visitor.Open(ctx, a.bus, site, name)
	if err != nil {
		return nil, fmt.Errorf("finding the visitor's tab: %w", err)
	}
	return tab, nil
}

func startVisitorOpen(ctx context.Context, s contend.Setup) (_ *visitorOpen, err error) {
	v := &visitorOpen{who: message.Viewed("", 1, 0, time.Now()).Visitor}
	v.rig = &rig{stop: func() {}, site: actions.Site{Name: siteName, Provider: "botstar", AppID: shop.AppID, Mode: "livechat", URL: shop.Origin + "/"}}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.finish(ctx))
		}
	}()
	if v.bus, err = openBus(ctx, bus.Options{Dir: filepath.Join(s.Dir, "nats")}); err != nil {
		return nil, err
	}
	v.far = anybody{v.bus}
	if err := v.openGate(&s); err != nil { //nolint:contextcheck // The crowd opens it, and knows of no context.
		return nil, err
	}
	if err := v.start(ctx, s, false); err != nil {
		return nil, err
	}
	compiled, err := compile(bigOnes)
	if err != nil {
		return nil, err
	}
	v.rules = compiled.run(ctx, v.bus)
	return v, v.arrive(ctx, s)
}

// openGate opens the gateway, for pages and for the one who has it echo, and
// serves the shop and the vendor.
func (v *visitorOpen) openGate(s *contend.Setup) error {
	v.gate = &gate{bus: v.bus}
	talk, err := v.gate.Open()
	if err != nil {
		return err
	}
	if v.echo, err = crowd.Join(talk); err != nil {
		return fmt.Errorf("connecting the visitor who has it echo: %w", err)
	}
	hosts := vendor.New(vendor.Options{Keep: 1, ReportEvery: -1}).Hosts()
	maps.Copy(hosts, shop.New().Hosts())
	hosts[ChatHost] = v.gate.made
	page, err := v.page()
	if err != nil {
		return err
	}
	hosts[shop.Host] = page
	server, err := standin.Start(slog.New(slog.DiscardHandler), hosts)
	if err != nil {
		return fmt.Errorf("starting the stand-ins: %w", err)
	}
	v.server, s.Resolve, s.SPKI = server, server.Resolve(), server.SPKI()
	return nil
}

// page is a page of the shop that carries the tag, for the visitor who is logged
// in there.
func (v *visitorOpen) page() (http.Handler, error) {
	tag, err := Tag()
	if err != nil {
		return nil, err
	}
	identity, err := visitor.SignIdentity([]byte(visitorSecret), siteName, v.who, time.Now().Add(time.Hour))
	if err != nil {
		return nil, fmt.Errorf("signing who the visitor is: %w", err)
	}
	body := "<!doctype html><html><head>" + tag + "<script>parley.identify(" + strconv.Quote(identity) + ")</script></head><body><h1>shop</h1></body></html>"
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, body) // A browser that has gone reads nothing.
	}), nil
}

// arrive has the visitor open the page, and waits until he is connected and the
// widget is booted.
func (v *visitorOpen) arrive(ctx context.Context, s contend.Setup) (err error) {
	nonce := rand.Text()
	if v.tab, err = v.pool.Open(ctx, browser.Request{
		URL: shop.Origin + "/", Hosts: slices.Sorted(maps.Keys(s.Resolve)), Label: "visitor",
		Main: actions.Script(actions.WorldMain, nonce, ""), Look: actions.Script(actions.WorldLook, nonce, ""),
	}); err != nil {
		return fmt.Errorf("opening the visitor's page: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := until(ctx, func() bool {
		_, there, err := visitor.Find(ctx, v.bus, siteName, v.session())
		return err == nil && there
	}); err != nil {
		return fmt.Errorf("waiting for the visitor: %w", err)
	}
	if err := until(ctx, func() bool { return v.rules.Figures().Leads }); err != nil {
		return fmt.Errorf("waiting for the workflows: %w", err)
	}
	return v.ask(ctx, "botstar.widget.boot", 0)
}

func (v *visitorOpen) session() string { return event.SessionKey(siteName, v.who) }

func (v *visitorOpen) ask(ctx context.Context, action string, n int) error {
	return ask(ctx, v.bus, event.ClassWrite, action, event.Command{Site: siteName, Visitor: v.who}, n)
}

// Round publishes one event after another, each when the window is closed again.
func (v *visitorOpen) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience+time.Duration(o.Jobs)*time.Second)
	defer cancel()
	results, failed := v.results(ctx)
	echoes := make([]float64, 0, o.Jobs)
	r, err := inTurns(o.Jobs, func(i int) (func() error, error) {
		if err := v.happens(ctx); err != nil {
			return nil, err
		}
		return func() error { return v.shut(ctx, i, &echoes) }, seenOpen(ctx, results, failed)
	})
	r.Values = map[string]float64{contend.EchoP50: contend.Percentile(echoes, 50), contend.EchoP99: contend.Percentile(echoes, 99)}
	return r, err
}

// happens publishes an event of the visitor's, and waits until it is stored.
func (v *visitorOpen) happens(ctx context.Context) error {
	v.sent++
	subject, e, err := message.Trigger("v-"+strconv.Itoa(v.sent), message.Viewed("v-"+strconv.Itoa(v.sent), 1, 20, time.Now().UTC()))
	if err != nil {
		return fmt.Errorf("making an event: %w", err)
	}
	if _, err := v.bus.Publish(ctx, subject, e); err != nil {
		return fmt.Errorf("publishing an event: %w", err)
	}
	return nil
}

// results hears the results of openings, from now on.
func (v *visitorOpen) results(ctx context.Context) (<-chan event.Result, <-chan error) {
	results, failed, began := make(chan event.Result, 8), make(chan error, 1), time.Now()
	go func() {
		subject := event.ResultSubject(openAction, siteName, v.session())
		for d, err := range v.bus.Tail(ctx, bus.TailOptions{Subjects: []string{subject}, Since: began}) {
			var r event.Result
			if err == nil {
				r, err = resultOf(d)
			}
			if err != nil {
				failed <- err
				return
			}
			results <- r
		}
	}()
	return results, failed
}

func resultOf(d *bus.Delivery) (r event.Result, err error) {
	e, err := d.Envelope()
	if err != nil {
		return r, fmt.Errorf("reading a result: %w", err)
	}
	if err := json.Unmarshal(e.Data, &r); err != nil {
		return r, fmt.Errorf("reading a result: %w", err)
	}
	return r, nil
}

// seenOpen waits for the next result, which has to say that the window was seen
// open in the visitor's own tab.
func seenOpen(ctx context.Context, results <-chan event.Result, failed <-chan error) error {
	select {
	case r := <-results:
		if r.Status != event.Succeeded || !r.Verified || r.Executor != session.ExecutorVisitor {
			return fmt.Errorf("the window was not seen open: %s in %s, %+v", r.Status, r.Executor, r.Problem)
		}
		return nil
	case err := <-failed:
		return fmt.Errorf("waiting for a result: %w", err)
	case <-ctx.Done():
		return fmt.Errorf("waiting for a result: %w", context.Cause(ctx))
	}
}

// shut closes the window again, and has the gateway echo.
func (v *visitorOpen) shut(ctx context.Context, n int, echoes *[]float64) error {
	if err := v.ask(ctx, "botstar.widget.close", n); err != nil {
		return err
	}
	took, err := v.echo.Echo()
	if err != nil {
		return fmt.Errorf("having the gateway echo: %w", err)
	}
	*echoes = append(*echoes, took)
	return nil
}

// Close ends all that was started.
func (v *visitorOpen) Close() error { return v.finish(context.Background()) }

// finish is Close. ctx may have ended.
func (v *visitorOpen) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	var all []error
	if v.rules.Engine != nil {
		all = append(all, v.rules.stop())
	}
	if v.tab != nil {
		all = append(all, v.tab.Close(ctx))
	}
	if v.echo != nil {
		all = append(all, v.echo.Close())
	}
	if v.gate != nil && v.gate.made != nil {
		all = append(all, v.gate.Shut())
	}
	if v.server != nil {
		all = append(all, v.server.Close())
	}
	return errors.Join(append(all, v.end(ctx))...)
}
