package session

import (
	"context"
	"sync"
	"time"
)

// life is the context of what a manager does on its own: it ends when the
// manager has stopped.
type life struct {
	over chan struct{}
	once *sync.Once
}

func newLife() life { return life{over: make(chan struct{}), once: &sync.Once{}} }

func (l life) end() { l.once.Do(func() { close(l.over) }) }

// Deadline implements context.Context: there is none.
func (life) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context.
func (l life) Done() <-chan struct{} { return l.over }

// Err implements context.Context.
func (l life) Err() error {
	select {
	case <-l.over:
		return context.Canceled
	default:
		return nil
	}
}

// Value implements context.Context: there is none.
func (life) Value(any) any { return nil }
