package visitor

import (
	"crypto/rand"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

const (
	// lingers is how long a visitor who has gone is remembered: who comes back
	// within it goes on where he was.
	lingers = 2 * time.Minute
	// maxLives is how many documents of a visitor are remembered.
	maxLives = 8
	// maxCauses is how many commands of a visitor are remembered.
	maxCauses = 32
	// maxAnswered is how many answers are kept for a question that is asked again.
	maxAnswered = 16
	// maxQueued is how many signals and tracks of a visitor wait to be stored.
	maxQueued = wire.MaxUnacked + 56
)

// entry is one visitor of a site, with a connection or lately gone.
type entry struct {
	site    *Site
	session string
	visitor event.Visitor

	holding sync.Mutex // one at a time answers for the tab, or no longer; before mu

	mu   sync.Mutex // guards the fields below
	conn *conn      // nil when the visitor is away
	gone bool       // removed from the hub: find the visitor anew
	left time.Time  // when the last connection ended
	rate bucket
	// tracks are the events of the page's analytics that are taken.
	tracks bucket
	nonce  string // of the token that was given out last
	epoch  string
	seq    int64
	calls  map[string]*waiting // by id, those without an answer

	numbers  []numbered // the oldest first
	answered []answered // the oldest first
	lives    []*life    // the oldest first
	causes   []cause    // the oldest first
	state    actions.State
	consent  wire.Consent

	queue   []parcel
	storing bool
}

// waiting is a call that the page has not answered.
type waiting struct {
	done   chan struct{} // closed when the answer is there, or never will be
	answer replied
	ok     bool
}

// numbered is the number that a call has in an epoch, whenever it is sent.
type numbered struct {
	id  string
	seq int64
}

// answered is an answer that the page gave.
type answered struct {
	id string
	replied
}

// life is one document of the visitor.
type life struct {
	name string
	// taken is the highest number that we have, and stored the highest whose
	// fact, like all before it, is durable.
	taken, stored int64
}

func newEntry(site *Site, session string, v event.Visitor) *entry {
	return &entry{site: site, session: session, visitor: v, epoch: rand.Text(), left: time.Now()}
}

// life returns the document of the name. The caller holds the lock.
func (e *entry) life(name string) *life {
	for _, l := range e.lives {
		if l.name == name {
			return l
		}
	}
	l := &life{name: name}
	if e.lives = append(e.lives, l); len(e.lives) > maxLives {
		e.lives = e.lives[1:]
	}
	return l
}

// know remembers the commands, so that signals find them. The caller holds the
// lock.
func (e *entry) know(behind []cause) {
	for _, c := range behind {
		if c.Key == "" || len(c.Key) > wire.MaxName {
			continue
		}
		if n := len(e.causes); n > 0 && e.causes[n-1] == c {
			continue
		}
		if e.causes = append(e.causes, c); len(e.causes) > maxCauses {
			e.causes = e.causes[1:]
		}
	}
}

// answer returns the answer that the page gave to the call. The caller holds the
// lock.
func (e *entry) answer(id string) (replied, bool) {
	for _, a := range e.answered {
		if a.id == id {
			return a.replied, true
		}
	}
	return replied{}, false
}

// settle gives the page's answer to those who wait for it. An answer to nothing
// is dropped. The caller holds the lock.
func (e *entry) settle(id string, answer replied) bool {
	w := e.calls[id]
	if w == nil {
		return false
	}
	delete(e.calls, id)
	w.answer, w.ok = answer, true
	close(w.done)
	if e.answered = append(e.answered, answered{id, answer}); len(e.answered) > maxAnswered {
		e.answered = e.answered[1:]
	}
	return true
}

// number returns the call's number, which it keeps in the epoch. The caller holds
// the lock.
func (e *entry) number(id string) int64 {
	for _, n := range e.numbers {
		if n.id == id {
			return n.seq
		}
	}
	e.seq++
	if e.numbers = append(e.numbers, numbered{id, e.seq}); len(e.numbers) > wire.MaxCalls {
		e.numbers = e.numbers[1:]
	}
	return e.seq
}

// drop ends the wait for all answers: whoever waits asks again. The caller holds
// the lock.
func (e *entry) drop() {
	for id, w := range e.calls {
		delete(e.calls, id)
		close(w.done)
	}
}

// presence describes the visitor's connection. The caller holds the lock, and
// there is one.
func (e *entry) presence(gateway string) presence {
	return presence{Gateway: gateway, Life: e.conn.life, Tab: e.conn.tab, URL: bare(e.conn.url), Focused: e.conn.focused}
}

// claim is what the gateway says of the visitor's connection. The caller holds
// the lock, and there is one.
func (e *entry) claim(gateway string) claim {
	return claim{Gateway: gateway, Focused: e.conn.focused, Stamp: e.conn.stamp}
}
