package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

// controlSource is the CloudEvents source of what a person asks workflows for.
const controlSource = "/workflows/control"

// Filter says which runs are meant. The zero value means all.
type Filter struct {
	Site, Session, Workflow string
	Status                  machine.Status
	// Since and Until bound the start of the run, where they are set.
	Since, Until time.Time
}

// fits reports whether the run is meant.
func (f Filter) fits(run *machine.Run) bool {
	return (f.Workflow == "" || run.Workflow == f.Workflow) && (f.Status == "" || run.Status == f.Status) &&
		(f.Since.IsZero() || !run.StartedAt.Before(f.Since)) && (f.Until.IsZero() || run.StartedAt.Before(f.Until))
}

func orStar(token string) string {
	if token == "" {
		return "*"
	}
	return token
}

// ListRuns yields the runs: first those that ended, in the order of their ends,
// then those that are under way. A run that ends meanwhile may come twice.
func ListRuns(ctx context.Context, b *bus.Bus, f Filter) iter.Seq2[*machine.Run, error] {
	return func(yield func(*machine.Run, error) bool) {
		if f.Status != machine.Running {
			for d, err := range b.LastEach(ctx, event.RunSubject(orStar(f.Site), orStar(f.Session), "*")) {
				run := &machine.Run{}
				if err == nil {
					err = decode(d, run)
				}
				if err != nil || f.fits(run) {
					if !yield(run, err) || err != nil {
						return
					}
				}
			}
		}
		if f.Status != "" && f.Status != machine.Running {
			return
		}
		for s, err := range sessions(ctx, b, f) {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, run := range s.Runs {
				if f.fits(run) && !yield(run, nil) {
					return
				}
			}
		}
	}
}

// sessions yields the sessions of the filter that remember anything.
func sessions(ctx context.Context, b *bus.Bus, f Filter) iter.Seq2[*machine.Session, error] {
	return func(yield func(*machine.Session, error) bool) {
		for d, err := range b.LastEach(ctx, event.RunsSubject(orStar(f.Site), orStar(f.Session))) {
			s := &machine.Session{}
			if err == nil {
				if strings.HasSuffix(d.Subject, ".-") || d.Subject == event.PositionSubject {
					continue // What a site remembers, and the position.
				}
				err = decode(d, s)
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

func decode(d *bus.Delivery, into any) error {
	if err := json.Unmarshal(d.Body, into); err != nil {
		return fault.New(fault.InternalError, "reading the record %s: %s", d.Subject, err)
	}
	return nil
}

// GetRun returns the run with the id, wherever it is.
func GetRun(ctx context.Context, b *bus.Bus, id string) (*machine.Run, error) {
	if event.IsToken(id) {
		for d, err := range b.LastEach(ctx, event.RunSubject("*", "*", id)) {
			run := &machine.Run{}
			if err == nil {
				err = decode(d, run)
			}
			return run, err
		}
		for s, err := range sessions(ctx, b, Filter{}) {
			if err != nil {
				return nil, err
			}
			for _, run := range s.Runs {
				if run.ID == id {
					return run, nil
				}
			}
		}
	}
	return nil, fault.New(fault.UnknownRun, "there is no run %s", id)
}

// Replay asks the leader to repeat the run as c says, whose Run is filled in. It
// returns the key of the request when that is stored: see Repetition. A request
// that cannot be obeyed becomes a dead letter.
func Replay(ctx context.Context, b *bus.Bus, run *machine.Run, c machine.Control) (string, error) {
	return control(ctx, b, run, machine.EventRepeat, c)
}

// Cancel asks the leader to end the run.
func Cancel(ctx context.Context, b *bus.Bus, run *machine.Run) error {
	_, err := control(ctx, b, run, machine.EventCancel, machine.Control{})
	return err
}

// Repetition returns the run that the request led to, or nil when there is none
// yet.
func Repetition(ctx context.Context, b *bus.Bus, of *machine.Run, key string) (*machine.Run, error) {
	for run, err := range ListRuns(ctx, b, Filter{Site: of.Site, Session: of.Session, Workflow: of.Workflow}) {
		if err != nil {
			return nil, err
		}
		if run.Again == key {
			return run, nil
		}
	}
	return nil, nil //nolint:nilnil // None yet.
}

func control(ctx context.Context, b *bus.Bus, run *machine.Run, name string, c machine.Control) (string, error) {
	c.Run = run.ID
	raw, err := json.Marshal(c)
	if err != nil {
		return "", fault.New(fault.SchemaViolation, "writing the request: %s", err)
	}
	var properties map[string]any
	if err := json.Unmarshal(raw, &properties); err != nil {
		return "", fault.New(fault.SchemaViolation, "writing the request: %s", err)
	}
	return manual(ctx, b, event.Trigger{Site: run.Site, Visitor: run.Visitor, Event: name, Properties: properties})
}

// Start asks the leader to start the workflow, which has to allow that by `on:
// {manual: true}`, for the visitor on the site. It returns the key of the
// trigger.
func Start(ctx context.Context, b *bus.Bus, workflow, site string, visitor event.Visitor, properties map[string]any) (string, error) {
	return manual(ctx, b, event.Trigger{Site: site, Visitor: visitor, Event: workflow, Properties: properties})
}

// manual publishes a trigger of a person's.
func manual(ctx context.Context, b *bus.Bus, data event.Trigger) (string, error) {
	if data.Visitor.Key() == "" {
		return "", fault.New(fault.UnknownSession, "nothing tells who the visitor is")
	}
	now := time.Now().UTC()
	data.OccurredAt, data.ReceivedAt = now, now
	session := event.SessionKey(data.Site, data.Visitor)
	e, err := event.New(controlSource, event.TriggerType(event.KindManual), session, data)
	if err != nil {
		return "", fmt.Errorf("asking the workflows: %w", err)
	}
	e.Extensions[event.ExtPartitionKey] = session
	if _, err := b.Publish(ctx, event.TriggerSubject("control", event.KindManual, data.Site, session), e); err != nil {
		return "", fmt.Errorf("asking the workflows: %w", err)
	}
	return event.Key(e.Source, e.ID), nil
}
