package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
)

// askTimeout bounds one answer of a worker that does not wait for anything.
const askTimeout = 5 * time.Second

// fleet is the workers that live, as an operator reaches them.
type fleet struct {
	bus     *bus.Bus
	members []bus.Member
}

// fleet connects to the bus and finds the workers. Close the bus when done.
func (c *cli) fleet(ctx context.Context, cfg *Config) (*fleet, error) {
	b, err := c.connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	members, err := b.Members(ctx)
	if err != nil {
		c.close(ctx, b)
		return nil, fmt.Errorf("finding the workers: %w", err)
	}
	return &fleet{b, members}, nil
}

// needed returns the workers, or what to do when there is none.
func (f *fleet) needed() ([]bus.Member, error) {
	if len(f.members) == 0 {
		return nil, fault.New(fault.NoWorker, "no worker takes commands from %s", redact(f.bus.URL())).
			WithFix("start one with `worker run`, or have a drained one work again: worker drain NAME --resume")
	}
	return f.members, nil
}

// ask asks a worker, and reads its answer.
func ask[T any](ctx context.Context, b *bus.Bus, worker, verb string, q question, patience time.Duration) (T, error) {
	var answer T
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fault.New(fault.NoWorker, "the worker %s did not answer within %s", worker, patience))
	defer cancel()
	text, err := b.Ask(ctx, worker, verb, q)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return answer, fault.New(fault.Malformed, "reading the answer of the worker %s", worker).Because(err)
	}
	return answer, nil
}

// reply is the answer of one worker, or its error.
type reply[T any] struct {
	worker string
	answer T
	err    error
}

// askAll asks all workers at the same time.
func askAll[T any](ctx context.Context, f *fleet, verb string, q question) []reply[T] {
	replies := make([]reply[T], len(f.members))
	var together sync.WaitGroup
	for i, m := range f.members {
		together.Go(func() {
			answer, err := ask[T](ctx, f.bus, m.Worker, verb, q, askTimeout)
			replies[i] = reply[T]{m.Worker, answer, err}
		})
	}
	together.Wait()
	return replies
}

// found is a session, and the worker that remembers it. The worker is "" when
// none does, and the session is stored only.
type found struct {
	Worker string `json:"worker,omitempty"`
	session.Info
}

// sessions asks all workers for their sessions. It returns how many there are,
// of which the list may be a part, and the errors of those that did not answer.
func (f *fleet) sessions(ctx context.Context, q question) (list []found, total int, err error) {
	var errs []error
	for _, r := range askAll[roll](ctx, f, verbList, q) {
		errs = append(errs, r.err)
		total += r.answer.Total
		for _, info := range r.answer.Sessions {
			list = append(list, found{r.worker, info})
		}
	}
	slices.SortStableFunc(list, func(a, b found) int {
		return cmp.Or(strings.Compare(a.State, b.State), b.UsedAt.Compare(a.UsedAt))
	})
	return list, total, errors.Join(errs...)
}

// whole is the least length of a key that is looked for in the store too.
const whole = 26

// find finds the session whose name a person has typed: "site/key", or a key, or
// the beginning of one.
func (f *fleet) find(ctx context.Context, named string) (found, error) {
	if _, err := f.needed(); err != nil {
		return found{}, err
	}
	q := question{Prefix: named, Most: 20}
	if site, key, ok := strings.Cut(named, "/"); ok {
		q.Site, q.Prefix = site, key
	}
	if !event.IsToken(q.Prefix) || q.Site != "" && !event.IsToken(q.Site) {
		return found{}, fault.New(fault.UnknownSession, "%q does not name a session", named).
			WithFix("write SITE/KEY, or the beginning of the key; `worker sessions list` shows them")
	}
	list, _, err := f.sessions(ctx, q)
	switch {
	case err != nil:
		return found{}, err
	case len(list) == 1:
		return list[0], nil
	case len(list) > 1:
		var names []string
		for _, one := range list[:min(len(list), 5)] {
			names = append(names, one.Site+"/"+one.Session)
		}
		return found{}, fault.New(fault.UnknownSession, "%q is the beginning of several sessions: %s", named, strings.Join(names, ", ")).
			WithFix("write one of them")
	case len(q.Prefix) < whole:
		return found{}, fault.New(fault.UnknownSession, "no worker remembers a session that begins with %q", named).
			WithFix("`worker sessions list` shows those that workers remember; one that is stored only needs its whole key")
	}
	info, err := ask[session.Info](ctx, f.bus, f.members[0].Worker, verbShow, question{Key: q.Prefix}, askTimeout)
	if err != nil {
		return found{}, fault.From(err).WithFix("`worker sessions list` shows those that workers remember")
	}
	return found{Info: info}, nil
}
