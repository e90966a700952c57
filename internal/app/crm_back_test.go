package app

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	crmsql "github.com/parley-chat/parley/internal/crm/sql"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin"
	"github.com/parley-chat/parley/schemas"
)

// serveTargets serves the targets of the configuration until the test ends.
func serveTargets(t *testing.T, cfg *Config, b *bus.Bus, w way) {
	t.Helper()
	all, err := openTargets(t.Context(), bustest.Log(t), cfg, Env{}, b, nil, w, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- all.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := all.close(); err != nil {
			t.Error(err)
		}
	})
}

// say publishes a trigger or a fact of the visitor.
func say(t *testing.T, b *bus.Bus, subject, typ, session string, data any) {
	t.Helper()
	e, err := event.New("/test", typ, session, data)
	if err == nil {
		_, err = b.Publish(t.Context(), subject, e)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// partsOf returns the catalogue and the schemas that updates are held against.
func partsOf(t *testing.T) Parts {
	t.Helper()
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		t.Fatal(err)
	}
	return Parts{Catalog: catalogue(t), Schemas: validators}
}

// TestBackOfConfiguration: what `back` says becomes a command of the site's own
// vendor, which fits the action; what does not fit is a dead letter.
func TestBackOfConfiguration(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "crm.db")
	text := oneSite + "crm:\n targets:\n  local:\n    type: sqlite\n    path: " + file + "\n    window: 20ms\n    back:\n      every: 20ms\n" +
		"      attributes: {plan: '${contact.company}', gender: '${contact.phone}'}\n"
	cfg, err := parseConfig("parley.yaml", []byte(text), Env{}, catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	b := bustest.Start(t)
	s := &System{cfg: cfg}
	serveTargets(t, cfg, b, way{update: s.updates(partsOf(t))})
	who := event.Visitor{UserID: "ada", Email: "ada@example.test"}
	session := event.SessionKey("shop", who)
	say(t, b, event.TriggerSubject("test", event.KindIdentify, "shop", session), event.TriggerType(event.KindIdentify), session,
		event.Trigger{Site: "shop", Visitor: who, Event: "identify", OccurredAt: time.Now(), Traits: map[string]any{"name": "Ada"}})
	bustest.Until(t, "the contact is there, and the target listens", func() bool {
		status, err := crm.StatusOf(t.Context(), b, "local")
		return err == nil && status.Position.Cursor != "" && status.Position.Flow > 0 && status.Waiting == 0
	})
	db, err := crmsql.OpenSQLite(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	edit := func(statement string) {
		t.Helper()
		if _, err := db.DB().ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	edit("UPDATE contacts SET company = 'gold'")
	subject := event.WorkflowCommandSubject(event.ClassWrite, "botstar.widget.update", "shop", session)
	var d *bus.Delivery
	bustest.Until(t, "there is a command", func() (found bool) {
		d, found, err = b.Last(t.Context(), subject)
		return found && err == nil
	})
	e, err := d.Envelope()
	if err != nil {
		t.Fatal(err)
	}
	var command event.Command
	if err := json.Unmarshal(e.Data, &command); err != nil {
		t.Fatal(err)
	}
	want := event.Command{Site: "shop", Visitor: who, Params: json.RawMessage(`{"plan":"gold"}`)}
	if diff := cmp.Diff(want, command); diff != "" || partsOf(t).Schemas.Validate(e.Type, e.Data) != nil {
		t.Errorf("the command (-want +got):\n%s", diff)
	}
	edit("UPDATE contacts SET phone = 'no gender'")
	var dead []crm.DeadLetter
	bustest.Until(t, "there is a dead letter", func() bool {
		dead = nil
		for r, err := range crm.DeadLetters(t.Context(), b, "local") {
			if err == nil {
				dead = append(dead, r)
			}
		}
		return len(dead) > 0
	})
	if r := dead[0]; r.Kind != "update" || r.Reason != fault.SchemaViolation || !strings.Contains(r.Field, "gender") {
		t.Errorf("the dead letter: %+v", r)
	}
}

// TestUpdatesAreRefused: a site that is gone, and a vendor that has no such action.
func TestUpdatesAreRefused(t *testing.T) {
	t.Parallel()
	cfg, err := parseConfig("parley.yaml", []byte(oneSite), Env{}, catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	of := cfg.Sites["shop"]
	of.Provider = "nobody"
	cfg.Sites["other"] = of
	update := (&System{cfg: cfg}).updates(partsOf(t))
	for site, want := range map[string]fault.Reason{"gone": fault.UnknownSite, "other": fault.UnsupportedProvider, "shop": ""} {
		u, err := update(site, map[string]any{"plan": "pro"})
		if want == "" && (err != nil || u.Class != event.ClassWrite || string(u.Params) != `{"plan":"pro"}`) || want != "" && fault.From(err).Reason != want {
			t.Errorf("%s: %+v, %v", site, u, err)
		}
	}
}

// TestLeadIsInactive: by the mapping alone a visitor is a lead that is worked on
// while the chat is open, and inactive when the session has ended.
func TestLeadIsInactive(t *testing.T) {
	t.Parallel()
	text := oneSite + "crm:\n targets:\n  sf:\n    type: salesforce\n    window: 20ms\n    contact:\n      sobject: Lead\n      Email: '${visitor.email}'\n" +
		"      LastName: '${traits.name}'\n      Company: Unknown\n      Status: \"${has(record.open) && record.open ? 'Working' : 'Closed'}\"\n"
	cfg, err := parseConfig("parley.yaml", []byte(text), Env{}, catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	accounts := newAccounts(cfg)
	server, err := standin.Start(bustest.Log(t), accounts.hosts())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	b := bustest.Start(t)
	serveTargets(t, cfg, b, way{server.Resolve(), server.Roots(), accounts.tokens(), nil})
	who := event.Visitor{UserID: "ada", Email: "ada@example.test"}
	session := event.SessionKey("shop", who)
	say(t, b, event.TriggerSubject("test", event.KindIdentify, "shop", session), event.TriggerType(event.KindIdentify), session,
		event.Trigger{Site: "shop", Visitor: who, Event: "identify", OccurredAt: time.Now(), Traits: map[string]any{"name": "Ada"}})
	for _, step := range []struct{ fact, status string }{
		{event.FactWidgetOpened, "Working"}, {event.FactWidgetClosed, "Closed"}, {event.FactWidgetOpened, "Working"}, {event.FactSessionEnded, "Closed"},
	} {
		o := event.Occurrence{Site: "shop", Session: session, Provider: "botstar", At: time.Now(), Cause: event.CauseVisitor}
		say(t, b, event.FactSubject("botstar", step.fact, "shop", session), event.FactType("botstar", step.fact), session, o)
		bustest.Until(t, fmt.Sprintf("after %s the lead is %s", step.fact, step.status), func() bool {
			leads := accounts.salesforce.Records("Lead")
			return len(leads) == 1 && leads[0]["Status"] == step.status && len(accounts.salesforce.Records("Contact")) == 0
		})
	}
}
