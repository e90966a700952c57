package telemetry

import (
	"context"
	"log/slog"
	"slices"
)

// The names of the attributes that log records carry. Others may filter by
// them, so a name keeps its meaning.
const (
	AttrErr       = "err"        // What went wrong, for a person.
	AttrReason    = "reason"     // What went wrong, for a program: a fault.Reason.
	AttrCommandID = "command_id" // The id of the command that is being done.
	AttrTriggerID = "trigger_id" // The id of the trigger that a rule looks at.
	AttrTraceID   = "trace_id"   // The W3C trace.
	AttrAction    = "action"     // The action's own name.
	AttrSite      = "site"       // The name of the site.
	AttrSession   = "session"    // The opaque key of the session. Never an identity.
	AttrProvider  = "provider"   // The chat vendor.
	AttrRule      = "rule"       // The name of the workflow rule.
	AttrSubject   = "subject"    // A subject on the bus.
	AttrWorker    = "worker"     // The worker's name.
)

// attrsKey is where the attributes of a context are.
type attrsKey struct{}

// With returns a context whose log records carry the attributes too.
func With(ctx context.Context, attrs ...slog.Attr) context.Context {
	before, _ := ctx.Value(attrsKey{}).([]slog.Attr)
	return context.WithValue(ctx, attrsKey{}, append(slices.Clip(before), attrs...))
}

// contextual puts the attributes of the context on each record.
type contextual struct{ slog.Handler }

// Handle adds the attributes and passes the record on.
func (h contextual) Handle(ctx context.Context, record slog.Record) error {
	if attrs, ok := ctx.Value(attrsKey{}).([]slog.Attr); ok {
		record = record.Clone()
		record.AddAttrs(attrs...)
	}
	return h.Handler.Handle(ctx, record)
}

// WithAttrs returns the handler with the attributes.
func (h contextual) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextual{h.Handler.WithAttrs(attrs)}
}

// WithGroup returns the handler with the group.
func (h contextual) WithGroup(name string) slog.Handler {
	return contextual{h.Handler.WithGroup(name)}
}
