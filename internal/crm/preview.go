package crm

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Preview is what would be written of a visitor, and what is there.
type Preview struct {
	Site    string `json:"site"`
	Session string `json:"session"`
	// Kept says why the CRM is not told of the visitor: erased, site, anonymous or
	// consent; or "".
	Kept string `json:"kept,omitempty"`
	// Exists says that the CRM has the contact.
	Exists bool `json:"exists"`
	// Fields are the contact's that would change.
	Fields []Difference `json:"fields,omitempty"`
	// Chats are the chat sessions that would be written.
	Chats []Activity `json:"chats,omitempty"`
	// Problem is why it cannot be written, or nil.
	Problem *fault.Error `json:"problem,omitempty"`
}

// Difference is one field as it is and as it would be.
type Difference struct {
	Name string `json:"name"`
	Is   any    `json:"is"`
	Gets any    `json:"gets"`
	Rule Rule   `json:"rule"`
}

// Preview yields what a write of everything would change, of one visitor, or of
// all when the session is "". It writes nothing.
func (t *Target) Preview(ctx context.Context, site, session string) iter.Seq2[Preview, error] {
	return func(yield func(Preview, error) bool) {
		program, _, err := t.Program(ctx)
		if err != nil {
			yield(Preview{}, err)
			return
		}
		if site == "" {
			site = "*"
		}
		if session == "" {
			session = "*"
		}
		for d, err := range t.bus.LastEach(ctx, event.CRMSubject(t.o.Name, site, session)) {
			if err != nil {
				yield(Preview{}, fmt.Errorf("reading the visitors of %s: %w", t.o.Name, err))
				return
			}
			v := &Visitor{}
			if err := json.Unmarshal(d.Body, v); err != nil {
				yield(Preview{}, fault.New(fault.InternalError, "reading %s: %s", d.Subject, err))
				return
			}
			p, err := t.preview(ctx, program, v)
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}

func (t *Target) preview(ctx context.Context, program *Program, v *Visitor) (Preview, error) {
	p := Preview{Site: v.Site, Session: v.Session}
	if tells, why := t.policy().tells(v); !tells {
		p.Kept = why
		return p, nil
	}
	contact, err := program.contactOf(v)
	if err != nil {
		p.Problem = fault.From(err)
		return p, nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.gate.limits.Timeout)
	defer cancel()
	found, err := t.o.Connector.Read(ctx, []Ref{{contact.Key, contact.ID}})
	if err != nil {
		return p, fmt.Errorf("reading the contact of %s: %w", v.Session, err)
	}
	var present *Contact
	if len(found) > 0 {
		present, p.Exists = &found[0], true
	}
	for _, f := range apply(contact, present) {
		d := Difference{Name: f.Name, Gets: f.Value, Rule: Always}
		if present != nil {
			if i := slices.IndexFunc(present.Fields, func(is Field) bool { return is.Name == f.Name }); i >= 0 {
				d.Is = present.Fields[i].Value
			}
		}
		if i := slices.IndexFunc(contact.Fields, func(want Field) bool { return want.Name == f.Name }); i >= 0 {
			d.Rule = contact.Fields[i].Rule
		}
		if !alike(d.Is, d.Gets) {
			p.Fields = append(p.Fields, d)
		}
	}
	for _, c := range v.Chats {
		if !c.begun() {
			continue
		}
		a, err := program.activityOf(v, c)
		if err != nil {
			p.Problem = fault.From(err)
			return p, nil
		}
		if a.digest() != c.Digest {
			p.Chats = append(p.Chats, a)
		}
	}
	return p, nil
}

// alike reports whether two values of a field are the same. Times are, to the
// millisecond.
func alike(a, b any) bool {
	x, isTime := a.(time.Time)
	y, too := b.(time.Time)
	if isTime && too {
		return x.Truncate(time.Millisecond).Equal(y.Truncate(time.Millisecond))
	}
	return reflect.DeepEqual(a, b)
}
