package crm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// job is all that is to be written of one visitor now.
type job struct {
	place   place
	rev     uint64 // the state that it was made of
	forget  bool
	look    bool     // nothing is written, and the contact is read
	contact *Contact // nil when the CRM has it
	ref     Ref      // of the contact
	// fields are what the contact says, before rules.
	fields     []Field
	activities []Activity
	// digest names the contact's fields, digests the activities; former counts the
	// former sessions that the contact names.
	digest  string
	digests []string
	former  int
}

// done is what became of a job.
type done struct {
	job
	// contacted is the outcome of the contact, or nil; acted those of activities,
	// in their order, as far as they were tried.
	contacted *Outcome
	acted     []*Outcome
	// failed says that calls as a whole failed, and their items are to come again.
	failed error
	unsure bool
	found  *Contact // by a look, or nil
}

// writer brings jobs to a connector. It may be used by many goroutines, for
// different visitors.
type writer struct {
	to   Connector
	gate *gate
	s    *stats
}

// write does the jobs. It returns one done for each.
func (w *writer) write(ctx context.Context, jobs []job) []done {
	all := make([]done, len(jobs))
	var contacts []Contact
	var forget []Ref
	at := map[string]int{} // jobs by the key of their contact
	for i, j := range jobs {
		all[i] = done{job: j, acted: make([]*Outcome, len(j.activities))}
		switch {
		case j.forget:
			forget, at[j.ref.Key] = append(forget, j.ref), i
		case j.contact != nil:
			contacts, at[j.contact.Key] = append(contacts, *j.contact), i
		}
	}
	w.looks(ctx, all)
	w.forget(ctx, forget, func(key string, o Outcome, err error) { all[at[key]].took(&o, err) })
	w.contacts(ctx, contacts, func(key string, o Outcome, err error) { all[at[key]].took(&o, err) })
	type spot struct{ job, activity int }
	spots := map[string]spot{}
	var activities []Activity
	for i := range all {
		d := &all[i]
		if d.failed != nil || d.contacted != nil && d.contacted.Status != Done {
			continue
		}
		for k, a := range d.activities {
			if d.contacted != nil && d.contacted.ID != "" {
				a.Contact.ID = d.contacted.ID
			}
			spots[a.Key] = spot{i, k}
			activities = append(activities, a)
		}
	}
	w.activities(ctx, activities, func(key string, o Outcome, err error) {
		s := spots[key]
		d := &all[s.job]
		if err != nil {
			d.fail(err)
			return
		}
		d.acted[s.activity] = &o
	})
	return all
}

// took notes what became of the contact.
func (d *done) took(o *Outcome, err error) {
	if err != nil {
		d.fail(err)
		return
	}
	d.contacted = o
}

func (d *done) fail(err error) {
	d.failed = err
	d.unsure = d.unsure || judge(err) == unsure
}

// each is told what became of an item: an outcome, or the error of a call.
type each func(key string, o Outcome, err error)

func (w *writer) forget(ctx context.Context, refs []Ref, tell each) {
	f, able := w.to.(Forgetter)
	if !able {
		for _, r := range refs {
			tell(r.Key, Outcome{Key: r.Key, Status: Done}, nil)
		}
		return
	}
	for part := range slices.Chunk(refs, w.gate.limits.Contacts) {
		bisect(ctx, w, part, func(r Ref) string { return r.Key }, f.Forget, tell)
	}
}

// contacts writes contacts: those with rules after a look at what is there.
func (w *writer) contacts(ctx context.Context, contacts []Contact, tell each) {
	for part := range slices.Chunk(contacts, w.gate.limits.Contacts) {
		part, err := w.ruled(ctx, part, tell)
		if err != nil {
			for _, c := range part {
				tell(c.Key, Outcome{}, err)
			}
			continue
		}
		bisect(ctx, w, part, func(c Contact) string { return c.Key }, w.to.UpsertContacts, tell)
	}
}

// ruled applies the rules of fields, unless the connector does. What needs no
// write any more is told as done. With an error, nothing was told.
func (w *writer) ruled(ctx context.Context, part []Contact, tell each) ([]Contact, error) {
	if w.gate.limits.Rules || !slices.ContainsFunc(part, func(c Contact) bool { return ruled(c.Fields) }) {
		return part, nil
	}
	var refs []Ref
	for _, c := range part {
		if ruled(c.Fields) {
			refs = append(refs, Ref{c.Key, c.ID})
		}
	}
	present := map[string]*Contact{}
	err := w.call(ctx, func(ctx context.Context) error {
		found, err := w.to.Read(ctx, refs)
		for i := range found {
			present[found[i].Key] = &found[i]
		}
		return err
	})
	if err != nil {
		return part, fmt.Errorf("reading the present values: %w", err)
	}
	var out []Contact
	for _, c := range part {
		if !ruled(c.Fields) {
			out = append(out, c)
			continue
		}
		is := present[c.Key]
		c.Fields = apply(c, is)
		if is != nil && len(c.Fields) == 0 && len(c.Former) == 0 {
			w.s.saved.Add(1)
			tell(c.Key, Outcome{Key: c.Key, Status: Done, ID: is.ID}, nil)
			continue
		}
		out = append(out, c)
	}
	return out, nil
}

func (w *writer) activities(ctx context.Context, activities []Activity, tell each) {
	for part := range slices.Chunk(activities, w.gate.limits.Activities) {
		bisect(ctx, w, part, func(a Activity) string { return a.Key }, w.to.PutActivities, tell)
	}
}

// bisect makes the call. When it fails for one of the items it halves the items
// until it knows which.
func bisect[T any](ctx context.Context, w *writer, items []T, key func(T) string,
	do func(context.Context, []T) ([]Outcome, error), tell each,
) {
	if len(items) == 0 {
		return
	}
	var outcomes []Outcome
	err := w.call(ctx, func(ctx context.Context) (err error) {
		outcomes, err = do(ctx, items)
		return err
	})
	w.s.items.Add(uint64(len(items)))
	switch {
	case err != nil && judge(err) == blame && len(items) > 1:
		w.s.bisected.Add(1)
		half := len(items) / 2
		bisect(ctx, w, items[:half], key, do, tell)
		bisect(ctx, w, items[half:], key, do, tell)
		return
	case err != nil && judge(err) == blame:
		tell(key(items[0]), Outcome{Key: key(items[0]), Status: Rejected, Err: fault.From(err)}, nil)
		return
	}
	byKey := make(map[string]Outcome, len(outcomes))
	for _, o := range outcomes {
		byKey[o.Key] = o
	}
	for _, item := range items {
		k := key(item)
		o, answered := byKey[k]
		switch {
		case err != nil:
			tell(k, Outcome{}, err)
		case !answered:
			tell(k, Outcome{}, fault.New(fault.EffectUnknown, "the answer does not name the item"))
		default:
			tell(k, o, nil)
		}
	}
}

// call makes one call in its turn and within its time.
func (w *writer) call(ctx context.Context, do func(context.Context) error) error {
	if n, _ := w.gate.room(time.Now()); n == 0 {
		return fault.New(fault.VendorUnavailable, "the target is left alone for now")
	}
	if err := w.gate.wait(ctx); err != nil {
		return fault.New(fault.ShuttingDown, "waiting for the turn of a call").Because(err)
	}
	within, cancel := context.WithTimeout(ctx, w.gate.limits.Timeout)
	defer cancel()
	w.s.calls.Add(1)
	err := safely(within, do)
	if err != nil && within.Err() != nil {
		if ctx.Err() != nil {
			return fault.New(fault.ShuttingDown, "the call was cut off").Because(err) // Its items come again.
		}
		if errors.Is(within.Err(), context.DeadlineExceeded) && judge(err) != halt {
			err = fault.New(fault.EffectUnknown, "no answer within %s", w.gate.limits.Timeout).Because(err)
		}
	}
	var budget Budget
	if b, ok := w.to.(Budgeted); ok {
		budget = b.Budget()
	}
	if err != nil {
		w.s.failed.Add(1)
	}
	w.gate.answered(time.Now(), err, budget)
	return err
}

// safely makes the call. A bug in a connector fails only this call.
func safely(ctx context.Context, do func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.New(fault.InternalError, "the connector crashed: %v", p)
		}
	}()
	return do(ctx)
}
