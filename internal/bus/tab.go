package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// The subjects of visitors' tabs. None of them is stored: who is not there does
// not hear.
const (
	tabPrefix   = "tab."      // questions to whoever holds the visitor's connection
	tabSays     = "tabsays."  // what the visitor's tab says, for the session's owner
	tabClaimed  = "tabclaim." // a gateway has a new connection of the visitor
	tabsAtOnce  = 4096        // questions that are answered at the same time
	tabsWaiting = 8192        // questions and claims that wait for that
	tabBacklog  = 1024        // signals that wait for one listener
)

// Tabs answers for the visitors' tabs that this process holds a connection to.
type Tabs struct {
	bus      *Bus
	incoming chan *nats.Msg

	mu   sync.Mutex // guards the field below
	held map[string]*nats.Subscription
}

// Tabs returns a Tabs that holds none yet.
func (b *Bus) Tabs() *Tabs {
	return &Tabs{bus: b, incoming: make(chan *nats.Msg, tabsWaiting), held: map[string]*nats.Subscription{}}
}

// Hold answers for the session's tab from now on. Holding it twice changes
// nothing.
func (t *Tabs) Hold(site, session string) error {
	if err := checkTab(site, session); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	name := site + "." + session
	if t.held[name] != nil {
		return nil
	}
	sub, err := t.bus.conn.ChanSubscribe(tabPrefix+name, t.incoming)
	if err != nil {
		return fmt.Errorf("answering for the tab of %s: %w", session, classify(err))
	}
	t.held[name] = sub
	return nil
}

// Release answers for the session's tab no longer.
func (t *Tabs) Release(site, session string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	name := site + "." + session
	if sub := t.held[name]; sub != nil {
		_ = sub.Unsubscribe() // It fails when the connection is gone, and so is the subscription.
		delete(t.held, name)
	}
}

// Held returns how many tabs are answered for.
func (t *Tabs) Held() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.held)
}

// Claim tells every process that this one has a connection of the visitor. The
// body says which; this process hears it too.
func (t *Tabs) Claim(site, session string, body []byte) error {
	return t.publish(tabClaimed, site, session, body)
}

// Say tells the session's owner what the visitor's tab has said. Nobody need
// hear it.
func (t *Tabs) Say(site, session string, body []byte) error {
	return t.publish(tabSays, site, session, body)
}

func (t *Tabs) publish(prefix, site, session string, body []byte) error {
	if err := checkTab(site, session); err != nil {
		return err
	}
	if err := t.bus.conn.Publish(prefix+site+"."+session, body); err != nil {
		return fmt.Errorf("telling of the tab of %s: %w", session, classify(err))
	}
	return nil
}

// Run answers questions with answer, and passes on claims, until ctx ends; then
// it waits for those that are being answered. claimed must not block.
func (t *Tabs) Run(
	ctx context.Context,
	answer func(ctx context.Context, site, session string, body []byte) ([]byte, error),
	claimed func(site, session string, body []byte),
) error {
	claims, err := t.bus.conn.ChanSubscribe(tabClaimed+"*.*", t.incoming)
	if err != nil {
		return fmt.Errorf("listening for claims of tabs: %w", classify(err))
	}
	var answering sync.WaitGroup
	defer answering.Wait()
	defer t.releaseAll(claims)
	room := make(chan struct{}, tabsAtOnce)
	for {
		select {
		case msg := <-t.incoming:
			prefix, site, session := tabOf(msg.Subject)
			if prefix+"." == tabClaimed {
				claimed(site, session, msg.Data)
				continue
			}
			room <- struct{}{}
			answering.Go(func() {
				defer func() { <-room }()
				_ = msg.RespondMsg(answerOf(answer(ctx, site, session, msg.Data))) // The asker asks again.
			})
		case <-t.bus.closed:
			return t.bus.goneErr()
		case <-ctx.Done():
			return nil
		}
	}
}

func (t *Tabs) releaseAll(claims *nats.Subscription) {
	_ = claims.Unsubscribe() // As in Release.
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, sub := range t.held {
		_ = sub.Unsubscribe()
	}
	clear(t.held)
}

// tabOf reads the subject of a message about a tab.
func tabOf(subject string) (prefix, site, session string) {
	prefix, rest, _ := strings.Cut(subject, ".")
	site, session, _ = strings.Cut(rest, ".")
	return prefix, site, session
}

// AskTab asks whoever holds the visitor's connection, and returns the answer. An
// error that the holder returned comes back with its reason; when nobody holds
// one, the error is fault.VisitorAway. Who hears nothing may ask again.
func (b *Bus) AskTab(ctx context.Context, site, session string, body []byte) ([]byte, error) {
	if err := checkTab(site, session); err != nil {
		return nil, err
	}
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	msg, err := b.conn.RequestMsgWithContext(ctx, &nats.Msg{Subject: tabPrefix + site + "." + session, Data: body})
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, fault.New(fault.VisitorAway, "no gateway has a connection of the visitor")
	}
	if err != nil {
		return nil, fmt.Errorf("asking the visitor's tab: %w", classify(err))
	}
	if first(msg.Header, headerProblem) == "" {
		return msg.Data, nil
	}
	var p problem
	if err := json.Unmarshal(msg.Data, &p); err != nil {
		return nil, fmt.Errorf("reading the answer of the visitor's tab: %w", err)
	}
	f := fault.New(p.Reason, "%s", p.Message).At(p.Field)
	if p.Fix != "" {
		f.Fix = p.Fix
	}
	return nil, f
}

// Hearing is what a visitor's tab says, from the call of HearTab on.
type Hearing struct {
	bus  *Bus
	sub  *nats.Subscription
	said chan *nats.Msg
}

// HearTab listens to what the visitor's tab says until Stop. What is said while
// the connection to the bus is away is not heard.
func (b *Bus) HearTab(site, session string) (*Hearing, error) {
	if err := checkTab(site, session); err != nil {
		return nil, err
	}
	said := make(chan *nats.Msg, tabBacklog)
	sub, err := b.conn.ChanSubscribe(tabSays+site+"."+session, said)
	if err != nil {
		return nil, fmt.Errorf("listening to the tab of %s: %w", session, classify(err))
	}
	return &Hearing{bus: b, sub: sub, said: said}, nil
}

// All yields what is said until ctx ends.
func (h *Hearing) All(ctx context.Context) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for {
			select {
			case msg := <-h.said:
				if !yield(msg.Data) {
					return
				}
			case <-h.bus.closed:
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// Stop ends the listening.
func (h *Hearing) Stop() { _ = h.sub.Unsubscribe() } // As in Release.

func checkTab(site, session string) error {
	if !event.IsToken(site) || !event.IsToken(session) {
		return fault.New(fault.Malformed, "%q and %q do not name a session", site, session)
	}
	return nil
}
