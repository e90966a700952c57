package crm

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// ledger is a CRM in memory that keeps account of every effect, and fails as it
// is told to. It refuses nothing that a strict CRM would take, and notes what no
// CRM should see.
type ledger struct {
	limits Limits

	mu         sync.Mutex // guards the fields below
	random     *rand.Rand
	faults     faults
	contacts   map[string]map[string]any
	activities map[string]Activity
	seqs       map[string]uint64
	creates    map[string]int // of contacts and activities
	inversions int            // states older than what was stored
	orphans    int            // activities whose contact is not there
	repeated   int            // keys twice in one call
	calls      int
	batches    []int // items of each call
	forgotten  []string
	inflight   map[string]bool
	overlaps   int // two calls for one contact at once
	late       time.Duration
}

// faults are chances of what goes wrong, from 0 to 1.
type faults struct {
	unavailable float64 // the call fails, and nothing is done
	unanswered  float64 // the call is done, and its answer is lost
	partial     float64 // an item is to come again
	down        bool    // every call fails
	reject      func(key string) *fault.Error
	whole       func(keys []string) error
	patience    time.Duration // of a call that is refused for its rate
	throttled   float64
}

func newLedger(seed uint64, l Limits) *ledger {
	return &ledger{
		limits: l, random: rand.New(rand.NewPCG(seed, 0)), contacts: map[string]map[string]any{}, activities: map[string]Activity{},
		seqs: map[string]uint64{}, creates: map[string]int{}, inflight: map[string]bool{},
	}
}

func (l *ledger) set(f faults) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = f
}

// name returns the name that the contact has.
func (l *ledger) name(key string) any {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.contacts[key]["name"]
}

func (*ledger) Name() string { return "ledger" }

func (l *ledger) Limits() Limits { return l.limits }

func (*ledger) Schema(context.Context) (Schema, error) {
	text := func(names ...string) (all []FieldSchema) {
		for _, name := range names {
			all = append(all, FieldSchema{Name: name, Type: Text})
		}
		return all
	}
	return Schema{Contact: append(text("email", "user_id", "name", "notes"), FieldSchema{Name: "last_chat_at", Type: Time}, FieldSchema{Name: "age", Type: Number})}, nil
}

// before is what goes wrong before a call does anything.
func (l *ledger) before(keys []string) error {
	l.calls++
	l.batches = append(l.batches, len(keys))
	seen := map[string]bool{}
	for _, key := range keys {
		if seen[key] {
			l.repeated++
		}
		seen[key] = true
	}
	f := l.faults
	switch {
	case f.down, l.random.Float64() < f.unavailable:
		return fault.New(fault.VendorUnavailable, "503")
	case l.random.Float64() < f.throttled:
		return fault.New(fault.RateLimited, "429").WithAfter(f.patience)
	case f.whole != nil:
		return f.whole(keys)
	}
	return nil
}

// after is what goes wrong when the call has done all of it.
func (l *ledger) after(all []Outcome) ([]Outcome, error) {
	if l.random.Float64() < l.faults.unanswered {
		return nil, fault.New(fault.EffectUnknown, "the answer was lost")
	}
	l.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all, nil
}

// one decides about one item.
func (l *ledger) one(key string, seq uint64) (Outcome, bool) {
	if l.faults.reject != nil {
		if err := l.faults.reject(key); err != nil {
			return Outcome{Key: key, Status: Rejected, Err: err}, false
		}
	}
	if l.random.Float64() < l.faults.partial {
		return Outcome{Key: key, Status: Retry, Err: fault.New(fault.VendorUnavailable, "locked")}, false
	}
	if seq < l.seqs[key] {
		l.inversions++
		return Outcome{Key: key, Status: Done, ID: "id-" + key, Stale: true}, false
	}
	l.seqs[key] = seq
	return Outcome{Key: key, Status: Done, ID: "id-" + key}, true
}

// enter notes that calls for the keys are under way.
func (l *ledger) enter(ctx context.Context, keys []string) (leave func()) {
	l.mu.Lock()
	for _, key := range keys {
		if l.inflight[key] {
			l.overlaps++
		}
		l.inflight[key] = true
	}
	late := l.late
	l.mu.Unlock()
	if late > 0 {
		rest(ctx, late)
	}
	l.mu.Lock()
	return func() {
		for _, key := range keys {
			delete(l.inflight, key)
		}
		l.mu.Unlock()
	}
}

func (l *ledger) UpsertContacts(ctx context.Context, contacts []Contact) ([]Outcome, error) {
	keys := make([]string, len(contacts))
	for i, c := range contacts {
		keys[i] = c.Key
	}
	defer l.enter(ctx, keys)()
	if err := l.before(keys); err != nil {
		return nil, err
	}
	var all []Outcome
	for _, c := range contacts {
		o, write := l.one(c.Key, c.Seq)
		if all = append(all, o); !write {
			continue
		}
		is := l.contacts[c.Key]
		if is == nil {
			is = map[string]any{}
			l.contacts[c.Key] = is
			l.creates[c.Key]++
		}
		for _, f := range c.Fields {
			is[f.Name] = f.Value
		}
		for _, former := range c.Former {
			delete(l.contacts, former)
			for key, a := range l.activities {
				if a.Contact.Key == former {
					a.Contact.Key = c.Key
					l.activities[key] = a
				}
			}
		}
	}
	return l.after(all)
}

func (l *ledger) PutActivities(ctx context.Context, activities []Activity) ([]Outcome, error) {
	keys, people := make([]string, len(activities)), map[string]bool{}
	for i, a := range activities {
		keys[i], people[a.Contact.Key] = a.Key, true
	}
	var at []string
	for key := range people {
		at = append(at, key)
	}
	defer l.enter(ctx, at)()
	if err := l.before(keys); err != nil {
		return nil, err
	}
	var all []Outcome
	for _, a := range activities {
		if l.contacts[a.Contact.Key] == nil {
			l.orphans++
		}
		o, write := l.one(a.Key, a.Seq)
		if all = append(all, o); !write {
			continue
		}
		if _, there := l.activities[a.Key]; !there {
			l.creates[a.Key]++
		}
		l.activities[a.Key] = a
	}
	return l.after(all)
}

func (l *ledger) Read(_ context.Context, refs []Ref) ([]Contact, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Contact
	for _, ref := range refs {
		is, ok := l.contacts[ref.Key]
		if !ok {
			continue
		}
		c := Contact{Key: ref.Key, ID: "id-" + ref.Key}
		for name, value := range maps.All(is) {
			c.Fields = append(c.Fields, Field{Name: name, Value: value})
		}
		out = append(out, c)
	}
	return out, nil
}

func (l *ledger) Forget(_ context.Context, refs []Ref) ([]Outcome, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Outcome
	for _, ref := range refs {
		delete(l.contacts, ref.Key)
		maps.DeleteFunc(l.activities, func(_ string, a Activity) bool { return a.Contact.Key == ref.Key })
		l.forgotten = append(l.forgotten, ref.Key)
		out = append(out, Outcome{Key: ref.Key, Status: Done})
	}
	return out, nil
}
