package app

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest"
	ingested "github.com/parley-chat/parley/internal/ingest/botstar"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/telemetry"
	"github.com/parley-chat/parley/schemas"
)

// hooked is an edge that hears the stand-in's webhooks.
type hooked struct {
	bus  *bus.Bus
	url  string
	hook []vendor.Hook
}

func hear(t *testing.T) hooked {
	t.Helper()
	b := bustest.Start(t)
	identities, err := b.KV(t.Context(), bus.BucketIdentities)
	if err != nil {
		t.Fatal(err)
	}
	settings := ingest.Settings{Name: "bot-1", Type: "botstar"}
	source, err := ingested.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		t.Fatal(err)
	}
	edge, err := ingest.New(slog.New(slog.DiscardHandler), ingest.Options{
		Sources: []ingest.Mount{{Settings: settings, Source: source, Path: "/in/bot-1", Site: "shop", Token: [][]byte{[]byte("t0ken-of-the-bot")}}},
		Store:   ingest.OnBus(b), Identities: ingest.OnKV(identities), Validate: validators.Validate, Counter: telemetry.NewMetrics(),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(edge)
	t.Cleanup(server.Close)
	h := hooked{bus: b, url: server.URL + "/in/bot-1/t0ken-of-the-bot"}
	for _, name := range vendor.HookEvents() {
		h.hook = append(h.hook, vendor.Hook{Event: name, Environment: vendor.HookLive, URL: h.url})
	}
	return h
}

// count returns how many triggers of the kind are stored.
func (h hooked) count(t *testing.T, kind string) int {
	t.Helper()
	n := 0
	for _, err := range h.bus.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{event.TriggerSubject("*", kind, "*", "*")}}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func TestTakeoversAreReadFromTheTriggers(t *testing.T) {
	t.Parallel()
	h := hear(t)
	begun := time.Now().UTC().Add(-time.Hour).Truncate(time.Millisecond)
	user := vendor.HookUser{ID: "s-1", Attributes: map[string]any{"user_id": "u-42"}}
	session := event.SessionKey("shop", event.Visitor{UserID: "u-42"})
	// Everything comes twice, and the last thing that happened comes first.
	sender := vendor.NewWebhooks(vendor.WebhooksOptions{BotID: "b-1", Hooks: h.hook, Copies: 1, Hold: 6})
	happen := func(what vendor.Happening, after time.Duration) {
		what.Environment, what.User, what.At = vendor.HookLive, user, begun.Add(after)
		if err := sender.Happen(t.Context(), what); err != nil {
			t.Fatal(err)
		}
	}
	told := func() actions.Takeover {
		got, err := takeovers{h.bus}.told(t.Context(), "shop", session)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := told(); got != (actions.Takeover{}) {
		t.Errorf("before anything happened it is told that %+v", got)
	}
	happen(vendor.Happening{Event: vendor.HookCheckpoint, Checkpoint: "greeted"}, time.Minute)
	happen(vendor.Happening{Event: vendor.HookTakeover}, 2*time.Minute)
	happen(vendor.Happening{Event: vendor.HookTag, Tag: "angry"}, 3*time.Minute)
	if diff := cmp.Diff(actions.Takeover{RequestedAt: begun.Add(2 * time.Minute), BotAt: begun.Add(time.Minute)}, told()); diff != "" {
		t.Errorf("after the request (-want +got):\n%s", diff)
	}
	happen(vendor.Happening{Event: vendor.HookCapture, Block: "b", Response: "yes"}, 4*time.Minute)
	if err := sender.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(actions.Takeover{RequestedAt: begun.Add(2 * time.Minute), BotAt: begun.Add(4 * time.Minute)}, told()); diff != "" {
		t.Errorf("after the bot worked (-want +got):\n%s", diff)
	}
	for _, d := range sender.Deliveries() {
		if d.Status != http.StatusOK {
			t.Errorf("the webhook %s was answered with %d, %v", d.ID, d.Status, d.Err)
		}
	}
	for _, kind := range []string{event.KindCheckpoint, event.KindTakeover, event.KindTag, event.KindUserCapture} {
		if n := h.count(t, kind); n != 1 {
			t.Errorf("%d triggers of the kind %s are stored, want 1", n, kind)
		}
	}
	if other, err := (takeovers{h.bus}).told(t.Context(), "shop", event.SessionKey("shop", event.Visitor{UserID: "u-43"})); err != nil || other != (actions.Takeover{}) {
		t.Errorf("of another visitor it is told that %+v, %v", other, err)
	}
}

// A site has clocks where a source of its vendor may tell of takeovers.
func TestClocksOfTakeovers(t *testing.T) {
	t.Parallel()
	const sites = `
sites:
  shop: {app_id: s00000000-0000-0000-0000-000000000001, domains: [shop.example.com], takeover_idle: 10m, takeover_session: 1h}
  docs: {app_id: s00000000-0000-0000-0000-000000000002, domains: [docs.example.com]}
`
	clocks := &actions.TakeoverClocks{Idle: 10 * time.Minute, Session: time.Hour}
	for sources, want := range map[string][2]*actions.TakeoverClocks{
		"": {},
		"ingest: {sources: {bot: {type: botstar, site: shop, open: true}}}": {clocks, nil},
		"ingest: {sources: {bot: {type: botstar, open: true}}}":             {clocks, {}},
		"ingest: {sources: {web: {type: segment, site: shop, open: true}}}": {},
	} {
		cfg, err := parseConfig("parley.yaml", []byte(sites+sources), Env{}, catalogue(t))
		if err != nil {
			t.Fatal(err)
		}
		shop, _ := cfg.Site("shop")
		docs, _ := cfg.Site("docs")
		if diff := cmp.Diff(want, [2]*actions.TakeoverClocks{shop.Takeover, docs.Takeover}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", sources, diff)
		}
	}
}

// A user whose site's id was told once is that visitor from then on, and a clock
// that is ahead counts as ours.
func TestAUserIsTheVisitorThatItWas(t *testing.T) {
	t.Parallel()
	h := hear(t)
	sender := vendor.NewWebhooks(vendor.WebhooksOptions{BotID: "b-1", Hooks: h.hook})
	for _, what := range []vendor.Happening{
		{Event: vendor.HookAttribute, Attribute: "user_id", Value: "u-42"},
		{Event: vendor.HookTakeover, At: time.Now().Add(time.Hour)},
	} {
		what.Environment, what.User = vendor.HookLive, vendor.HookUser{ID: "s-1"}
		if err := sender.Happen(t.Context(), what); err != nil {
			t.Fatal(err)
		}
	}
	told, err := takeovers{h.bus}.told(t.Context(), "shop", event.SessionKey("shop", event.Visitor{UserID: "u-42"}))
	if err != nil || told.RequestedAt.IsZero() || told.RequestedAt.After(time.Now()) {
		t.Errorf("it is told that %+v, %v; deliveries %+v", told, err, sender.Deliveries())
	}
}

// Whom BotStar means is told by its own webhooks, under the site's user id only,
// and the newest counts.
func TestWhomWebhooksName(t *testing.T) {
	t.Parallel()
	h := hear(t)
	session := event.SessionKey("shop", event.Visitor{UserID: "u-42"})
	named := func(want string) {
		t.Helper()
		got, err := takeovers{h.bus}.user(t.Context(), "shop", session)
		if err != nil || got.ID != want || got.At.IsZero() != (want == "") {
			t.Errorf("it is told that %+v, %v, want %q", got, err, want)
		}
	}
	sender := vendor.NewWebhooks(vendor.WebhooksOptions{BotID: "b-1", Hooks: h.hook})
	happen := func(what vendor.HookEvent, id string, attributes map[string]any) {
		t.Helper()
		err := sender.Happen(t.Context(), vendor.Happening{
			Event: what, Environment: vendor.HookLive, At: time.Now().Add(-time.Hour), User: vendor.HookUser{ID: id, Attributes: attributes},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	named("")
	happen(vendor.HookTag, "s-1", nil) // Nobody knows yet whose it is.
	named("")
	happen(vendor.HookTag, "s-2", map[string]any{"user_id": "u-43"})
	named("")
	happen(vendor.HookSubscriber, "s-1", map[string]any{"user_id": "u-42"})
	named("s-1")
	happen(vendor.HookCheckpoint, "s-3", map[string]any{"user_id": "u-42"})
	named("s-3")
	happen(vendor.HookCapture, "s-1", nil) // The link of before says whose it is.
	named("s-1")
	happen(vendor.HookCMSItem, "s-9", map[string]any{"user_id": "u-42"})
	named("s-1")
}

// Another source does not say whom BotStar means, whatever it calls its events.
func TestWhomOtherSourcesName(t *testing.T) {
	t.Parallel()
	own := event.Origin{Provider: "botstar"}
	for name, tt := range map[string]struct {
		data event.Trigger
		want string
	}{
		"its own":         {event.Trigger{Origin: &own, Visitor: event.Visitor{UserID: "u"}, Properties: map[string]any{"botstar_user_id": "s-1"}}, "s-1"},
		"nobody's":        {event.Trigger{Visitor: event.Visitor{UserID: "u"}, Properties: map[string]any{"botstar_user_id": "s-1"}}, ""},
		"another's":       {event.Trigger{Origin: &event.Origin{Provider: "http"}, Visitor: event.Visitor{UserID: "u"}, Properties: map[string]any{"botstar_user_id": "s-1"}}, ""},
		"of an address":   {event.Trigger{Origin: &own, Visitor: event.Visitor{Email: "a@b.test"}, Properties: map[string]any{"botstar_user_id": "s-1"}}, ""},
		"without the id":  {event.Trigger{Origin: &own, Visitor: event.Visitor{UserID: "u"}}, ""},
		"with a wrong id": {event.Trigger{Origin: &own, Visitor: event.Visitor{UserID: "u"}, Properties: map[string]any{"botstar_user_id": 7.0}}, ""},
	} {
		if got := userOf(tt.data).ID; got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// Forged addresses, from a ledger: of all that are tried none is accepted.
func TestWebhooksWithAForgedTokenAreRefused(t *testing.T) {
	t.Parallel()
	h := hear(t)
	good := []byte("t0ken-of-the-bot")
	tried, accepted := 0, 0
	for i := range good {
		for _, token := range []string{string(good[:i]), string(good[:i]) + "x" + string(good[i+1:]), string(good) + string(good[i])} {
			if token == string(good) {
				continue
			}
			tried++
			sender := vendor.NewWebhooks(vendor.WebhooksOptions{Hooks: []vendor.Hook{{
				Event: vendor.HookTag, Environment: vendor.HookLive, URL: h.url[:len(h.url)-len(good)] + token,
			}}})
			err := sender.Happen(t.Context(), vendor.Happening{Event: vendor.HookTag, Environment: vendor.HookLive, User: vendor.HookUser{ID: fmt.Sprint("s-", tried)}})
			if err != nil {
				t.Fatal(err)
			}
			if d := sender.Deliveries()[0]; d.Err != nil || d.Status < 400 || d.Status >= 500 {
				accepted++
				t.Errorf("the token %q is answered with %d, %v", token, d.Status, d.Err)
			}
		}
	}
	if n := h.count(t, event.KindTag); tried < 40 || accepted != 0 || n != 0 {
		t.Errorf("%d tried, %d accepted, %d stored", tried, accepted, n)
	}
	client := http.Client{Timeout: 10 * time.Second}
	answer, err := client.Post(h.url+"/"+event.KindTag, "text/plain", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("a webhook's own address, with an empty body, is answered with %d", answer.StatusCode)
	}
}
