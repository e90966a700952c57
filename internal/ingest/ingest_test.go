package ingest

import (
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/schemas"
)

func TestTrigger(t *testing.T) {
	t.Parallel()
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		t.Fatal(err)
	}
	visitor := event.Visitor{UserID: "u-42"}
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	subject, e, err := Trigger("cli", "m-1", event.Trigger{
		Site: "shop", Visitor: visitor, Event: "Pricing Viewed", Properties: map[string]any{"plan": "pro"}, OccurredAt: at,
	})
	if err != nil {
		t.Fatal(err)
	}
	session := event.SessionKey("shop", visitor)
	if want := "in.cli.track.shop." + session; subject != want {
		t.Errorf("the subject is %s, want %s", subject, want)
	}
	if e.ID != "m-1" || e.Source != "/ingest/cli" || e.Subject != session || !e.Time.Equal(at) ||
		e.Extension(event.ExtCorrelationID) != "m-1" || e.Extension(event.ExtPartitionKey) != session {
		t.Errorf("the envelope is %+v", e)
	}
	if err := validators.Validate(e.Type, e.Data); err != nil {
		t.Errorf("the trigger does not fit its schema: %v", err)
	}
}

func TestTriggerRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]event.Trigger{
		"/visitor": {Site: "shop", Event: "Pricing Viewed"},
		"/site":    {Site: "Shop!", Event: "Pricing Viewed", Visitor: event.Visitor{Email: "a@example.test"}},
	}
	for field, data := range tests {
		_, _, err := Trigger("cli", "", data)
		if e := fault.From(err); e == nil || e.Reason != fault.SchemaViolation || e.Field != field {
			t.Errorf("Trigger(%+v) = %v, want a violation at %s", data, err, field)
		}
	}
}
