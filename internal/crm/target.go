package crm

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Options say what a target is. Name and Connector are needed.
type Options struct {
	// Name is the target's name in the configuration: a token.
	Name      string
	Connector Connector
	// Mapping says what is written. Where it is empty the connector's own is used.
	Mapping Mapping
	// Sites are the sites that the target hears of; none means all.
	Sites []string
	// Anonymous brings visitors of whom neither user id nor e-mail is known.
	Anonymous bool
	// Consent are the purposes that a visitor must have agreed to: see Purposes.
	Consent []string
	// Window is how long changes of a visitor are collected.
	Window time.Duration
	// Since is how old what happened may be when the target begins.
	Since time.Duration
	// Parallel bounds the calls at once, below what the connector allows.
	Parallel int
	// Return is how what others change in the CRM comes back.
	Return Return
}

const (
	// retryPause is the pause before a target begins anew.
	retryPause = 250 * time.Millisecond
	// mendPause is the pause when something must be mended first, such as a mapping
	// that does not fit the CRM's fields.
	mendPause = 10 * time.Second
)

// Target is one CRM of the configuration. Of all that run it on a bus one leads,
// and the others wait to take its place. Targets share nothing, so one that is
// slow or away does not hold up another.
type Target struct {
	log  *slog.Logger
	bus  *bus.Bus
	o    Options
	gate *gate
	s    stats
}

// New returns the target. Run starts it.
func New(log *slog.Logger, b *bus.Bus, o Options) (*Target, error) {
	if !event.IsToken(o.Name) {
		return nil, fault.New(fault.BadConfig, "the target's name %q is no token", o.Name).WithFix("use lower-case letters, digits and -")
	}
	for _, purpose := range o.Consent {
		if !slices.Contains(Purposes(), purpose) {
			return nil, fault.New(fault.BadConfig, "there is no purpose %q of consent", purpose).WithFix("the purposes are %v", Purposes())
		}
	}
	limits := o.Connector.Limits()
	if o.Parallel > 0 {
		limits.Parallel = min(max(limits.Parallel, 1), o.Parallel)
	}
	return &Target{log: log.With(slog.String("target", o.Name)), bus: b, o: o, gate: newGate(limits)}, nil
}

// Name returns the target's name.
func (t *Target) Name() string { return t.o.Name }

// Run brings sessions into the CRM, as long as this target leads, until ctx
// ends. It returns an error only for what no other try can mend.
func (t *Target) Run(ctx context.Context) error {
	err := t.bus.Lead(ctx, "crm-"+t.o.Name, func(ctx context.Context, term uint64) error {
		t.s.leads.Store(true)
		defer t.s.leads.Store(false)
		for ctx.Err() == nil {
			err, pause := t.lead(ctx, term), retryPause
			switch {
			case err == nil, ctx.Err() != nil:
			case fault.From(err).Reason == fault.StaleFence:
				t.s.refused.Add(1)
				t.log.LogAttrs(ctx, slog.LevelWarn, "the target is served by another one", slog.Any("err", err))
			case fault.Retryable(err):
				t.log.LogAttrs(ctx, slog.LevelWarn, "the target begins anew", slog.Any("err", err))
			default: // A target that cannot go on must not end the others, and may be mended.
				pause = mendPause
				t.log.LogAttrs(ctx, slog.LevelError, "the target cannot be served", slog.Any("err", err), slog.String("fix", fault.From(err).Fix))
			}
			rest(ctx, pause)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("serving the target %s: %w", t.o.Name, err)
	}
	return nil
}

// Program compiles the mapping against the schema as it is now.
func (t *Target) Program(ctx context.Context) (*Program, Schema, error) {
	ctx, cancel := context.WithTimeout(ctx, t.gate.limits.Timeout)
	defer cancel()
	schema, err := t.o.Connector.Schema(ctx)
	if err != nil {
		return nil, schema, fmt.Errorf("reading the schema of %s: %w", t.o.Name, err)
	}
	m := t.mapping(schema)
	if err := t.backFits(m); err != nil {
		return nil, schema, err
	}
	p, err := Compile(m, schema)
	return p, schema, err
}

// mapping returns the mapping of the options, or the connector's, or the usual
// fields as far as the CRM has them.
func (t *Target) mapping(schema Schema) Mapping {
	m := t.o.Mapping
	var own Mapping
	if mapper, ok := t.o.Connector.(Mapper); ok {
		own = mapper.Mapping()
	} else {
		own = usual(schema)
	}
	if m.Contact == nil {
		m.Contact = own.Contact
	}
	if m.Activity == nil {
		m.Activity = own.Activity
	}
	if m.Subject == "" {
		m.Subject = own.Subject
	}
	return m
}

// usual maps fields that have the names of what is known.
func usual(schema Schema) Mapping {
	pick := func(known []FieldSchema, from map[string]string) map[string]FieldMapping {
		out := map[string]FieldMapping{}
		for _, f := range known {
			if value, ok := from[f.Name]; ok && !f.ReadOnly {
				out[f.Name] = FieldMapping{Value: value}
			}
		}
		return out
	}
	return Mapping{
		Contact: pick(schema.Contact, map[string]string{
			"site": "${site}", "email": "${visitor.email}", "user_id": "${visitor.user_id}", "anonymous_id": "${visitor.anonymous_id}",
			"name": "${traits.name}", "phone": "${traits.phone}", "company": "${group}", "chats": "${chats}",
			"first_seen_at": "${first_seen_at}", "last_seen_at": "${last_seen_at}", "last_chat_at": "${record.opened_at}",
			"last_chat_open": "${record.open}",
		}),
		Activity: pick(schema.Activity, map[string]string{}),
	}
}

// policy returns whom the target is told of.
func (t *Target) policy() policy {
	return policy{sites: t.o.Sites, anonymous: t.o.Anonymous, consent: t.o.Consent}
}

// rest waits, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Prepare makes what the connector needs in the account, or with dry says what
// that is.
func (t *Target) Prepare(ctx context.Context, dry bool) ([]Preparation, error) {
	p, ok := t.o.Connector.(Preparer)
	if !ok {
		return nil, nil
	}
	list, err := p.Prepare(ctx, dry)
	if err != nil {
		return list, fmt.Errorf("preparing %s: %w", t.o.Name, err)
	}
	return list, nil
}
