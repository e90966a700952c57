package visitor

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// askAgain is how long an answer may be missing before the same question is
	// asked again: the gateway may be gone, and another one have the visitor.
	askAgain = 2 * time.Second
	// comesBack is the pause between two looks for a visitor who is away: a page
	// that is loaded again takes so long.
	comesBack = 100 * time.Millisecond
	// A gateway that has just lost a visitor is asked again so often, and so soon.
	goneTwice, gonePause = 3, 10 * time.Millisecond
	// findWithin bounds the question whether the visitor is there.
	findWithin = 2 * time.Second
	// callWithin bounds a call whose caller names no deadline.
	callWithin = 30 * time.Second
	// maxAnswer and maxMessage bound what a page answers.
	maxAnswer  = 1 << 20
	maxMessage = 500
)

// Tab is the tab that a visitor looks at, as actions see it. The connection may
// be at any gateway of the bus, and break and come back: a call goes on where it
// was, and the page does nothing twice for one key. What the tab says becomes
// facts at the gateway; who has a Tab hears it too.
//
// Its methods may be called by many goroutines.
type Tab struct {
	bus           *bus.Bus
	site, session string
	hearing       *bus.Hearing
	done          chan struct{}
	close         sync.Once

	mu     sync.Mutex // guards the fields below
	life   string
	behind []cause
	subs   []actions.Subscription
	told   bool
}

// Here says what is known of a visitor who is there.
type Here struct {
	// Life names the page's document.
	Life string
	// URL is the page's address, without what may be personal.
	URL string
	// Focused says that the visitor looks at it.
	Focused bool
}

// Find says whether the visitor is there. The error says that it is not known.
func Find(ctx context.Context, b *bus.Bus, site, session string) (Here, bool, error) {
	return find(ctx, b, site, session, request{Ask: askFind})
}

// Revoke closes the visitor's connection, wherever it is. A page that comes again
// has to prove again who its visitor is.
func Revoke(ctx context.Context, b *bus.Bus, site, session string) (bool, error) {
	_, there, err := find(ctx, b, site, session, request{Ask: askStop})
	return there, err
}

func find(ctx context.Context, b *bus.Bus, site, session string, ask request) (Here, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, findWithin)
	defer cancel()
	body, err := json.Marshal(ask)
	if err != nil {
		return Here{}, false, fmt.Errorf("asking for a visitor: %w", err)
	}
	answer, err := b.AskTab(ctx, site, session, body)
	for range goneTwice { // Who has just gone from one gateway may be at another one.
		if problem := fault.From(err); problem == nil || problem.Field != hereOnly || !wait(ctx, gonePause) {
			break
		}
		answer, err = b.AskTab(ctx, site, session, body)
	}
	switch {
	case errors.Is(err, fault.New(fault.VisitorAway, "")):
		return Here{}, false, nil
	case err != nil:
		return Here{}, false, fmt.Errorf("asking whether the visitor is there: %w", err)
	}
	var p presence
	if err := json.Unmarshal(answer, &p); err != nil {
		return Here{}, false, fault.New(fault.InternalError, "reading where a visitor is").Because(err)
	}
	return Here{Life: p.Life, URL: p.URL, Focused: p.Focused}, true, nil
}

// Open returns the visitor's tab, which hears from now on what the page says. The
// error is fault.VisitorAway when the visitor is not there.
func Open(ctx context.Context, b *bus.Bus, site, session string) (*Tab, error) {
	hearing, err := b.HearTab(site, session) // First, so that nothing is missed after.
	if err != nil {
		return nil, err
	}
	here, there, err := Find(ctx, b, site, session)
	if err == nil && !there {
		err = fault.New(fault.VisitorAway, "the visitor's own tab is not connected")
	}
	if err != nil {
		hearing.Stop()
		return nil, err
	}
	return &Tab{bus: b, site: site, session: session, hearing: hearing, done: make(chan struct{}), life: here.Life}, nil
}

// There says whether the visitor is there still, and whether the page shows
// another document than when that was asked last, so that nothing that is known
// of it holds. The page's address is the first answer.
func (t *Tab) There(ctx context.Context) (address string, there, changed bool, err error) {
	here, there, err := Find(ctx, t.bus, t.site, t.session)
	if err != nil || !there {
		return "", false, false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	changed = here.Life != t.life
	t.life = here.Life
	return here.URL, true, changed, nil
}

// Behind says which command is behind the calls that follow, and which
// subscriptions the session has, for the facts that the gateway makes.
func (t *Tab) Behind(key, id, correlation, trace string, subscriptions []actions.Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := cause{Key: key, ID: id, Correlation: correlation, Trace: trace}
	if key != "" && !slices.Contains(t.behind, one) {
		if t.behind = append(t.behind, one); len(t.behind) > maxCauses {
			t.behind = t.behind[1:]
		}
	}
	t.subs, t.told = slices.Clone(subscriptions), true
}

// Tell tells the gateway at once what Behind has said. It is nothing to a
// visitor who is away.
func (t *Tab) Tell(ctx context.Context) error {
	_, _, err := find(ctx, t.bus, t.site, t.session, t.request(askTell, nil))
	return err
}

func (t *Tab) request(ask string, c *call) request {
	t.mu.Lock()
	defer t.mu.Unlock()
	return request{Ask: ask, Call: c, Behind: slices.Clone(t.behind), Told: t.told, Subscriptions: t.subs}
}

// Call implements actions.Page. A visitor who is away is waited for as long as
// ctx allows: the error is fault.VisitorAway then.
func (t *Tab) Call(ctx context.Context, name string, arg, out any) error {
	text, err := json.Marshal(arg)
	if err != nil {
		return fmt.Errorf("encoding the argument of %s: %w", name, err)
	}
	var named struct {
		Key string `json:"key"`
	}
	_ = json.Unmarshal(text, &named) // What has no key is called without one.
	// A further driver's functions are webview/start and the like.
	if own := name[strings.LastIndexByte(name, '/')+1:]; own == "abandon" || strings.HasPrefix(own, "look.") {
		named.Key = "" // It names the call that is ended, and is none.
	}
	answer, err := t.ask(ctx, call{ID: rand.Text(), Name: name, Key: named.Key, JSON: text})
	if err == nil {
		err = t.read(answer, out)
	}
	if err != nil {
		return fmt.Errorf("calling %s in the visitor's tab: %w", name, err)
	}
	return nil
}

// read reads the answer. A failure in another document than the one that the
// caller began with says that the page has gone under the command: what it needed
// may not be there any more, and it has not been done. An answer that is no failure
// moves nobody to another document, since it may be that of an earlier one.
func (t *Tab) read(body []byte, out any) error {
	var r replied
	if err := json.Unmarshal(body, &r); err != nil {
		return fault.New(fault.InternalError, "reading the gateway's answer").Because(err)
	}
	err := readAnswer([]byte(r.JSON), out)
	t.mu.Lock()
	moved := r.Life != t.life
	if err != nil {
		t.life = r.Life
	}
	t.mu.Unlock()
	if err != nil && moved && !errors.Is(err, fault.New(fault.StaleFence, "")) {
		return fault.New(fault.PageNavigated, "the visitor's page was loaded again").Because(err)
	}
	return err
}

// ask asks until there is an answer, or ctx ends.
func (t *Tab) ask(ctx context.Context, c call) ([]byte, error) {
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(callWithin)
	}
	var last error
	for {
		left := time.Until(end)
		if c.DeadlineMS = left.Milliseconds(); c.DeadlineMS <= 0 {
			break
		}
		body, err := json.Marshal(t.request(askCall, &c))
		if err != nil {
			return nil, fmt.Errorf("asking the visitor's tab: %w", err)
		}
		once, cancel := context.WithTimeout(ctx, min(left, askAgain))
		answer, err := t.bus.AskTab(once, t.site, t.session, body)
		unheard := once.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil {
			return answer, nil
		}
		if reason := fault.From(err).Reason; !unheard && reason != fault.VisitorAway && reason != fault.BusUnavailable {
			return nil, err //nolint:wrapcheck // It says what was asked.
		}
		if !errors.Is(last, away()) || !unheard && ctx.Err() == nil {
			last = err
		}
		if !unheard && !t.pause(ctx) {
			break
		}
	}
	return nil, t.unanswered(ctx, last)
}

// unanswered says why there is no answer.
func (t *Tab) unanswered(ctx context.Context, last error) error {
	select {
	case <-t.done:
		return fault.New(fault.VisitorAway, "the visitor's tab was let go")
	default:
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fault.From(context.Cause(ctx))
	case errors.Is(last, away()):
		return fault.New(fault.VisitorAway, "the visitor was not there to the end")
	}
	return fault.New(fault.DeadlineExceeded, "the visitor's tab did not answer in time").Because(errors.Join(context.Cause(ctx), last))
}

// wait waits for the time to pass. It is false when ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pause waits for a moment. It is false when there is nothing more to wait for.
func (t *Tab) pause(ctx context.Context) bool {
	timer := time.NewTimer(comesBack)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.done:
		return false
	case <-ctx.Done():
		return false
	}
}

// Events implements actions.Page.
func (t *Tab) Events(ctx context.Context) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var watching sync.WaitGroup
		defer watching.Wait()
		defer cancel()
		watching.Go(func() {
			select {
			case <-t.done:
				cancel()
			case <-ctx.Done():
			}
		})
		for said := range t.hearing.All(ctx) {
			if !yield(said, nil) {
				return
			}
		}
	}
}

// Close lets the tab go. The visitor notices nothing.
func (t *Tab) Close(context.Context) error {
	t.close.Do(func() {
		t.hearing.Stop()
		close(t.done)
	})
	return nil
}

// Done is closed when the tab was let go. A visitor who goes away does not end
// it: he may come back.
func (t *Tab) Done() <-chan struct{} { return t.done }

// Err returns nil: a tab ends only by Close.
func (t *Tab) Err() error { return nil }

// readAnswer reads what the page runtime answered: page data, whoever wrote it.
func readAnswer(body []byte, out any) error {
	if len(body) > maxAnswer {
		return fault.New(fault.PageAnswerInvalid, "the page answered %d bytes, more than %d", len(body), maxAnswer)
	}
	var answer struct {
		OK      *bool           `json:"ok"`
		Value   json.RawMessage `json:"value"`
		Reason  fault.Reason    `json:"reason"`
		Message string          `json:"message"`
		Field   string          `json:"field"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.OK == nil {
		return fault.New(fault.PageAnswerInvalid, "the page answered something that is no answer").Because(err)
	}
	if !*answer.OK {
		known := slices.ContainsFunc(fault.Reasons(), func(e fault.Entry) bool { return e.Reason == answer.Reason })
		if !known {
			return fault.New(fault.PageAnswerInvalid, "the page gave the unknown reason %q", cut(string(answer.Reason)))
		}
		return fault.New(answer.Reason, "%s", cut(answer.Message)).At(cut(answer.Field))
	}
	if out == nil || len(answer.Value) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer.Value, out); err != nil {
		return fault.New(fault.PageAnswerInvalid, "the page's answer has a wrong shape").Because(err)
	}
	return nil
}

// cut makes a text of the page fit for an error.
func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	count := 0
	for i := range s {
		if count++; count > maxMessage {
			return s[:i]
		}
	}
	return s
}
