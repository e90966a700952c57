package crm

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// DeadLetter is an item that the CRM did not take: a dead letter.
type DeadLetter struct {
	Site    string `json:"site"`
	Session string `json:"session"`
	// Kind is contact, activity, or update for what could not come back. Key is the
	// item's.
	Kind string `json:"kind"`
	Key  string `json:"key"`
	Dead
}

// rejected returns the visitor's dead letters.
func (v *Visitor) rejected() []DeadLetter {
	var all []DeadLetter
	if v.Contact.Dead != nil {
		all = append(all, DeadLetter{v.Site, v.Session, "contact", v.ContactKey(), *v.Contact.Dead})
	}
	if v.Refused != nil {
		all = append(all, DeadLetter{v.Site, v.Session, "update", v.ContactKey(), *v.Refused})
	}
	for _, c := range v.Chats {
		if c.Dead != nil {
			all = append(all, DeadLetter{v.Site, v.Session, "activity", c.Key, *c.Dead})
		}
	}
	return all
}

// DeadLetters yields what the target rejected and what nobody has mended yet.
func DeadLetters(ctx context.Context, b *bus.Bus, target string) iter.Seq2[DeadLetter, error] {
	return func(yield func(DeadLetter, error) bool) {
		for d, err := range b.LastEach(ctx, event.CRMDeadSubject(target, "*", "*")) {
			if err != nil {
				yield(DeadLetter{}, fmt.Errorf("reading the dead letters of %s: %w", target, err))
				return
			}
			if gone(d.Body) {
				continue
			}
			var all []DeadLetter
			if err := json.Unmarshal(d.Body, &all); err != nil {
				yield(DeadLetter{}, fault.New(fault.InternalError, "reading %s: %s", d.Subject, err))
				return
			}
			for _, r := range all {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// Ask is what people ask the leader of a target to do.
type Ask struct {
	// Kind is AskReplay or AskBackfill.
	Kind string `json:"kind"`
	// Site and Session name the visitor of a replay; "" is all that were rejected.
	Site    string `json:"site,omitempty"`
	Session string `json:"session,omitempty"`
	// Reason narrows a replay to one class of dead letters.
	Reason fault.Reason `json:"reason,omitempty"`
	// Edits are fields of the contact that get another value than the mapping's; a
	// nil value takes an edit back.
	Edits map[string]any `json:"edits,omitempty"`
	// Rate is the visitors per second of a backfill.
	Rate float64 `json:"rate,omitempty"`
	// Since, of a backfill, is also to fold what happened before the target began.
	Since string `json:"since,omitempty"`
}

// The kinds of asks.
const (
	AskReplay   = "replay"
	AskBackfill = "backfill"
)

// Tell asks the leader of the target. It is done in its place in the log, also
// when nobody leads now.
func Tell(ctx context.Context, b *bus.Bus, target string, a Ask) error {
	data, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("writing the request: %w", err)
	}
	if _, err := b.Commit(ctx, []bus.FlowMsg{{Subject: event.CRMAskSubject(target), Data: data}}); err != nil {
		return fmt.Errorf("asking the target %s: %w", target, err)
	}
	return nil
}

// TargetStatus is how a target is.
type TargetStatus struct {
	Target   string   `json:"target"`
	Position Position `json:"position"`
	// Waiting are the visitors whom the CRM does not have as they are, and Dead the
	// items that it rejected.
	Waiting int `json:"waiting"`
	Dead    int `json:"dead"`
	// Unread are the facts and results that were stored and not folded.
	Unread uint64 `json:"unread"`
	// Reasons counts the dead letters by reason.
	Reasons map[fault.Reason]int `json:"reasons,omitempty"`
}

// StatusOf reads how the target is from the bus.
func StatusOf(ctx context.Context, b *bus.Bus, target string) (TargetStatus, error) {
	s := TargetStatus{Target: target, Reasons: map[fault.Reason]int{}}
	d, ok, err := b.Last(ctx, event.CRMPositionSubject(target))
	if err != nil {
		return s, fmt.Errorf("reading the position of %s: %w", target, err)
	}
	if ok {
		if err := json.Unmarshal(d.Body, &s.Position); err != nil {
			return s, fault.New(fault.InternalError, "reading the position of %s: %s", target, err)
		}
	}
	for d, err := range b.LastEach(ctx, event.CRMDueSubject(target, "*", "*")) {
		if err != nil {
			return s, fmt.Errorf("reading what waits for %s: %w", target, err)
		}
		if !gone(d.Body) {
			s.Waiting++
		}
	}
	for r, err := range DeadLetters(ctx, b, target) {
		if err != nil {
			return s, err
		}
		s.Dead++
		s.Reasons[r.Reason]++
	}
	for _, filter := range []string{"evt.>", "res.>"} {
		last, ok, err := b.Last(ctx, filter)
		if err != nil {
			return s, fmt.Errorf("reading the end of %s: %w", strings.TrimSuffix(filter, ".>"), err)
		}
		if ok && last.Sequence > s.Position.Events && !last.StoredAt.Before(s.Position.Since) {
			s.Unread = max(s.Unread, last.Sequence-s.Position.Events)
		}
	}
	return s, nil
}
