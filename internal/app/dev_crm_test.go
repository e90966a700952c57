package app

import (
	"context"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/standin"
)

// TestHubSpotOfDev: a target of HubSpot, as the configuration names it, reaches
// the stand-in on HubSpot's own host name, and a visitor becomes a contact.
func TestHubSpotOfDev(t *testing.T) {
	t.Parallel()
	text := oneSite + "crm:\n targets:\n  hs:\n    type: hubspot\n    url: https://elsewhere.example.com\n    window: 20ms\n    contact: {email: '${visitor.email}', jobtitle: {value: '${traits.title}', rule: if_empty}}\n"
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
	there := accounts.hubspot.Edit("contacts", "", map[string]string{"email": "ada@example.test", "jobtitle": "Countess"})
	for _, email := range []string{"ada@example.test", "bob@example.test"} {
		visitor := event.Visitor{UserID: email, Email: email}
		trigger := event.Trigger{Site: "shop", Visitor: visitor, Event: "identify", OccurredAt: time.Now(), Traits: map[string]any{"title": "Visitor"}}
		session := event.SessionKey("shop", visitor)
		e, err := event.New("/ingest/test", event.TriggerType(event.KindIdentify), session, trigger)
		if err == nil {
			_, err = b.Publish(t.Context(), event.TriggerSubject("test", event.KindIdentify, "shop", session), e)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	titles := map[string]string{}
	bustest.Until(t, "both are contacts of ours", func() bool {
		ours := 0
		for _, r := range accounts.hubspot.Records("contacts") {
			titles[r.Properties["email"]] = r.Properties["jobtitle"]
			if r.Properties["parley_key"] != "" {
				ours++
			}
			if r.Properties["email"] == "ada@example.test" && r.ID != there {
				t.Errorf("made twice: %v", r)
			}
		}
		return ours == 2
	})
	if titles["bob@example.test"] != "Visitor" || titles["ada@example.test"] != "Countess" {
		t.Errorf("what was there is written over, or nothing is: %v", titles)
	}
}
