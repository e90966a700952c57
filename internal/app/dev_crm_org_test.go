package app

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm/pipedrive"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin"
)

// TestVendorsOfDev: targets of Salesforce and Pipedrive, as the configuration
// names them, reach the stand-ins on the vendors' own host names through the
// engine, and a visitor becomes one contact and one person, also after a change.
func TestVendorsOfDev(t *testing.T) {
	t.Parallel()
	text := oneSite + "crm:\n targets:\n  sf:\n    type: salesforce\n    window: 20ms\n    contact: {Email: '${visitor.email}', LastName: '${traits.name}'}\n" +
		"  pd:\n    type: pipedrive\n    window: 20ms\n    settings: {activities: note}\n    contact: {email: '${visitor.email}', name: '${traits.name}'}\n"
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
	if err := accounts.prepare(t.Context(), server.Resolve(), server.Roots()); err != nil {
		t.Fatal(err)
	}
	b := bustest.Start(t)
	all, err := openTargets(t.Context(), bustest.Log(t), cfg, Env{}, b, nil, way{server.Resolve(), server.Roots(), accounts.tokens(), nil}, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
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
	visitor := event.Visitor{UserID: "ada", Email: "ada@example.test"}
	session := event.SessionKey("shop", visitor)
	for _, name := range []string{"Ada", "Lovelace"} {
		trigger := event.Trigger{Site: "shop", Visitor: visitor, Event: "identify", OccurredAt: time.Now(), Traits: map[string]any{"name": name}}
		e, err := event.New("/ingest/test", event.TriggerType(event.KindIdentify), session, trigger)
		if err == nil {
			_, err = b.Publish(t.Context(), event.TriggerSubject("test", event.KindIdentify, "shop", session), e)
		}
		if err != nil {
			t.Fatal(err)
		}
		bustest.Until(t, "both have "+name, func() bool {
			contacts, people := accounts.salesforce.Records("Contact"), accounts.pipedrive.Records("persons")
			if len(contacts) > 1 || len(people) > 1 {
				t.Fatalf("made twice: %v, %v", contacts, people)
			}
			return len(contacts) == 1 && contacts[0]["LastName"] == name && contacts[0]["Email"] == visitor.Email &&
				len(people) == 1 && people[0]["name"] == name && fmt.Sprint(people[0].Emails()) == "[ada@example.test]"
		})
	}
}

// TestCRMIDs: entries outlive the process, and of two who write one only the
// first does.
func TestCRMIDs(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	ids, err := openCRMIDs(t.Context(), b, "pd")
	if err != nil {
		t.Fatal(err)
	}
	const key = "60o30c1g60o30c1g60o30ob4c4"
	if e, err := ids.Get(t.Context(), key); err != nil || e != (pipedrive.Entry{}) {
		t.Errorf("%+v, %v", e, err)
	}
	now := time.Date(2026, 11, 25, 10, 0, 0, 1, time.UTC)
	first, err := ids.Put(t.Context(), key, pipedrive.Entry{Making: now})
	if err != nil || first.Revision == 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	second := first
	second.ID, second.Making = "12", time.Time{}
	if _, err := ids.Put(t.Context(), key, second); err != nil {
		t.Fatal(err)
	}
	for _, late := range []pipedrive.Entry{first, {}} {
		if _, err := ids.Put(t.Context(), key, late); fault.From(err) == nil || fault.From(err).Reason != fault.StaleFence {
			t.Errorf("a late write: %v", err)
		}
	}
	again, err := openCRMIDs(t.Context(), b, "pd")
	if err != nil {
		t.Fatal(err)
	}
	if e, err := again.Get(t.Context(), key); err != nil || e.ID != "12" || !e.Making.IsZero() {
		t.Errorf("%+v, %v", e, err)
	}
	other, err := openCRMIDs(t.Context(), b, "other")
	if err != nil {
		t.Fatal(err)
	}
	if e, err := other.Get(t.Context(), key); err != nil || e.ID != "" {
		t.Errorf("another target's: %+v, %v", e, err)
	}
}
