package visitor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/visitor"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

func TestVisitorIsWelcomed(t *testing.T) {
	t.Parallel()
	r := setup(t)
	p := r.connect(t, hello("one"))
	want := wire.Welcome{T: wire.KindWelcome, V: wire.Version, Session: sessionOf("shop", anonymous(1)), Config: p.welcome.Config}
	got := p.welcome
	if got.Token == "" || got.TokenMS < 5*60_000 || got.TokenMS > 15*60_000 || got.Epoch == "" {
		t.Errorf("token of %d ms, epoch %q", got.TokenMS, got.Epoch)
	}
	got.Token, got.TokenMS, got.Epoch = "", 0, ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("welcome (-want +got):\n%s", diff)
	}
	here, there, err := visitor.Find(t.Context(), r.bus, "shop", p.welcome.Session)
	if err != nil || !there || here.Life != "one" || here.URL != origin+"/pricing" || !here.Focused {
		t.Errorf("found %+v, %t, %v", here, there, err)
	}
	p.say(wire.Head{T: wire.KindPing})
	if !p.wait(wire.KindPong, 1) {
		t.Error("no pong")
	}
	p.say(wire.Head{T: wire.KindBye})
	if code := p.ends(); code != wire.CloseNormal {
		t.Errorf("after bye it closes with %d", code)
	}
	bustest.Until(t, "nobody is there", func() bool {
		_, there, err := visitor.Find(t.Context(), r.bus, "shop", p.welcome.Session)
		return err == nil && !there
	})
}

// A call reaches the page, and what the page says meanwhile is heard before its
// answer, becomes a fact, and is acknowledged.
func TestCallAndFacts(t *testing.T) {
	t.Parallel()
	r := setup(t)
	p := r.connect(t, hello("one"))
	p.mu.Lock()
	p.do = func(c wire.Call) string {
		p.say(signal(1, "widget.opened", "api", c.Key, "null"))
		return fmt.Sprintf(`{"ok":true,"value":{"name":%q,"asked":%s}}`, c.Name, c.JSON)
	}
	p.mu.Unlock()
	tab, err := visitor.Open(t.Context(), r.bus, "shop", p.welcome.Session)
	must(t, err)
	defer func() { must(t, tab.Close(t.Context())) }()
	tab.Behind("effect-1", "command-1", "trigger-1", "", []actions.Subscription{{ID: "sub", Fact: event.FactWidgetOpened}})
	var out struct {
		Name  string          `json:"name"`
		Asked json.RawMessage `json:"asked"`
	}
	must(t, tab.Call(t.Context(), "open", map[string]any{"key": "effect-1/open", "fence": 3, "arg": nil}, &out))
	if out.Name != "open" || string(out.Asked) != `{"arg":null,"fence":3,"key":"effect-1/open"}` {
		t.Errorf("the page was asked %+v", out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for said, err := range tab.Events(ctx) {
		must(t, err)
		if !strings.Contains(string(said), "widget.opened") {
			t.Errorf("heard %s", said)
		}
		break
	}
	fact := r.history("evt.>", 1)[0]
	var opened event.WidgetOpened
	must(t, json.Unmarshal(fact.Data, &opened))
	opened.At = time.Time{}
	want := event.WidgetOpened{Subscriptions: []string{"sub"}, Occurrence: event.Occurrence{
		Site: "shop", Session: p.welcome.Session, Provider: "botstar", Cause: event.CauseAPI, CommandID: "command-1", Page: origin + "/pricing",
	}}
	if diff := cmp.Diff(want, opened); diff != "" {
		t.Errorf("the fact (-want +got):\n%s", diff)
	}
	if fact.Extension(event.ExtCausationID) != "command-1" || fact.Extension(event.ExtCorrelationID) != "trigger-1" {
		t.Errorf("extensions %v", fact.Extensions)
	}
	if !p.wait(wire.KindAck, 1) || string(p.all(wire.KindAck)[0]) != `{"t":"ack","n":1}` {
		t.Errorf("acknowledged %s", p.all(wire.KindAck))
	}
}

// Signals that come again after a lost acknowledgement are the same facts.
func TestSignalsAreStoredOnce(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	one, two := join(t, b), join(t, b)
	send := func(p *page) {
		for n := range int64(6) {
			name := "widget.opened"
			if n%2 == 1 {
				name = "widget.closed"
			}
			p.say(signal(n+1, name, "visitor", "", "null"))
		}
	}
	p := one.connect(t, hello("one"))
	send(p)
	send(p)
	if !p.until(func() bool { return strings.Contains(fmt.Sprintf("%s", p.all(wire.KindAck)), `"n":6}`) }) {
		t.Fatal("not acknowledged")
	}
	again := one.connect(t, hello("one")) // The same document comes again here,
	if again.welcome.N != 6 {
		t.Errorf("the gateway has stored %d of the document", again.welcome.N)
	}
	send(again)
	other := two.connect(t, hello("one")) // and at a gateway that knows nothing of it.
	send(other)
	if !other.until(func() bool { return strings.Contains(fmt.Sprintf("%s", other.all(wire.KindAck)), `"n":6}`) }) {
		t.Fatal("not acknowledged by the other gateway")
	}
	last := other
	last.say(signal(7, "widget.opened", "visitor", "", "null"))
	ids := map[string]bool{}
	for _, e := range two.history("evt.>", 7) {
		ids[e.ID] = true
	}
	if len(ids) != 7 {
		t.Errorf("%d facts, want 7", len(ids))
	}
}

// A call whose connection breaks is asked again when the visitor is back, at
// another gateway too, and the page does it once.
func TestCallGoesOnAcrossConnections(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	one, two := join(t, b), join(t, b)
	p := one.connect(t, hello("one"))
	tab, err := visitor.Open(t.Context(), b, "shop", p.welcome.Session)
	must(t, err)
	defer func() { must(t, tab.Close(t.Context())) }()
	ended := make(chan error, 1)
	go func() { ended <- tab.Call(t.Context(), "open", map[string]any{"key": "k/open"}, nil) }()
	if !p.wait(wire.KindCall, 1) {
		t.Fatal("no call came")
	}
	var first, second wire.Call
	must(t, json.Unmarshal(p.all(wire.KindCall)[0], &first))
	p.leave()
	back := one.connect(t, hello("one", func(h *wire.Hello) { h.Epoch = p.welcome.Epoch }))
	if !back.welcome.Resume || back.welcome.Epoch != p.welcome.Epoch {
		t.Errorf("it does not go on: %+v", back.welcome)
	}
	if !back.wait(wire.KindCall, 1) {
		t.Fatal("the call did not come again")
	}
	must(t, json.Unmarshal(back.all(wire.KindCall)[0], &second))
	second.DeadlineMS = first.DeadlineMS
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the call comes again as another one (-first +second):\n%s", diff)
	}
	back.leave()
	other := two.begin(t, origin, hello("one"), func(wire.Call) string { return `{"ok":true,"value":null}` })
	select {
	case err := <-ended:
		must(t, err)
	case <-time.After(patience):
		t.Fatal("the call did not end")
	}
	other.mu.Lock()
	defer other.mu.Unlock()
	if got := other.applied["k/open"]; got != 1 {
		t.Errorf("done %d times", got)
	}
}

// A visitor who is away is waited for as long as the caller's time lasts.
func TestAwayVisitorIsWaitedFor(t *testing.T) {
	t.Parallel()
	r := setup(t)
	if _, err := visitor.Open(t.Context(), r.bus, "shop", sessionOf("shop", anonymous(1))); !errors.Is(err, fault.New(fault.VisitorAway, "")) {
		t.Fatalf("opening the tab of nobody: %v", err)
	}
	p := r.connect(t, hello("one"))
	tab, err := visitor.Open(t.Context(), r.bus, "shop", p.welcome.Session)
	must(t, err)
	defer func() { must(t, tab.Close(t.Context())) }()
	p.leave()
	bustest.Until(t, "the gateway knows", func() bool {
		_, there, err := visitor.Find(t.Context(), r.bus, "shop", p.welcome.Session)
		return err == nil && !there
	})
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	begun := time.Now()
	err = tab.Call(ctx, "state", nil, nil)
	if took := time.Since(begun); !errors.Is(err, fault.New(fault.VisitorAway, "")) || took < 300*time.Millisecond {
		t.Errorf("after %s: %v", took, err)
	}
	next := r.connect(t, hello("two", func(h *wire.Hello) { h.Tab = "tab-one" }), func(wire.Call) string {
		return `{"ok":false,"reason":"not_open","message":"it is closed","field":""}`
	})
	_, there, changed, err := tab.There(t.Context())
	if err != nil || !there || !changed {
		t.Errorf("a new document: there %t, changed %t, %v", there, changed, err)
	}
	if next.welcome.Resume {
		t.Error("a page that knows no epoch goes on")
	}
	if err := tab.Call(t.Context(), "state", nil, nil); !errors.Is(err, fault.New(fault.NotOpen, "")) {
		t.Errorf("the page's own reason is %v", err)
	}
}

// Of two browsers of one visitor one is the target: the one that is looked at,
// wherever it is connected.
func TestOneBrowserIsTheTarget(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	one, two := join(t, b), join(t, b)
	bustest.Until(t, "both gateways hear claims", func() bool { // A connection of each, until the other one gives way.
		a := one.connect(t, hello("probe-a"))
		c := two.connect(t, hello("probe-b"))
		return a.ends() == wire.CloseReplaced && c.closedWith() == 0 && func() bool { c.leave(); return true }()
	})
	first := one.connect(t, hello("first"))
	refused := one.begin(t, origin, hello("second", func(h *wire.Hello) { h.Focused = false }))
	if code := refused.ends(); code != wire.CloseReplaced {
		t.Errorf("a tab that nobody looks at ends with %d", code)
	}
	second := two.connect(t, hello("third"))
	if code := first.ends(); code != wire.CloseReplaced {
		t.Errorf("the older one ends with %d", code)
	}
	here, there, err := visitor.Find(t.Context(), b, "shop", second.welcome.Session)
	if err != nil || !there || here.Life != "third" {
		t.Errorf("the target is %+v, %t, %v", here, there, err)
	}
}

func TestTracksAreTaken(t *testing.T) {
	t.Parallel()
	r := setup(t)
	p := r.connect(t, hello("one"))
	track := wire.Track{T: wire.KindTrack, N: 1, Name: "Pricing Viewed", Properties: json.RawMessage(`{"plan":"pro"}`), URL: origin + "/pricing", AgeMS: 1500}
	p.say(track)
	p.say(track)
	p.say(wire.Head{T: wire.KindPing}) // What came before it was taken.
	if !p.wait(wire.KindAck, 1) || !p.wait(wire.KindPong, 1) {
		t.Fatal("not acknowledged")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.tracks) != 1 {
		t.Fatalf("%d tracks, want 1", len(r.tracks))
	}
	got := r.tracks[0]
	if age := time.Since(got.At); age < time.Second || age > patience {
		t.Errorf("it happened %s ago", age)
	}
	if got.Visitor != (event.Visitor{AnonymousID: anonymous(1)}) || got.Name != "Pricing Viewed" || got.Site != "shop" || got.ID == "" {
		t.Errorf("the track is %+v", got)
	}
}

// What a page says when it goes comes by beacon, and is stored once.
func TestBeacon(t *testing.T) {
	t.Parallel()
	r := setup(t)
	p := r.connect(t, hello("one"))
	p.say(signal(1, "widget.opened", "visitor", "", "null"))
	if !p.wait(wire.KindAck, 1) {
		t.Fatal("not acknowledged")
	}
	post := func(from string, change func(*wire.Beacon)) {
		b := wire.Beacon{
			V: wire.Version, Key: shopKey, Token: p.welcome.Token, Life: "one", Tab: "tab-one", URL: origin + "/",
			Signals: []wire.Signal{signal(1, "widget.opened", "visitor", "", "null"), signal(3, "widget.closed", "navigation", "", "null")},
			Tracks:  []wire.Track{{T: wire.KindTrack, N: 2, Name: "Left", URL: origin + "/"}}, Bye: true,
		}
		change(&b)
		body, err := json.Marshal(b)
		must(t, err)
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.address+wire.BeaconPath, strings.NewReader(string(body)))
		must(t, err)
		q.Header.Set("Origin", from)
		q.Header.Set("Content-Type", "text/plain")
		answer, err := client().Do(q)
		must(t, err)
		must(t, answer.Body.Close())
		if answer.StatusCode != http.StatusNoContent {
			t.Errorf("a beacon is answered with %d", answer.StatusCode)
		}
	}
	post("https://evil.example.test", func(*wire.Beacon) {})
	post(origin, func(b *wire.Beacon) { b.Token = b.Token[:len(b.Token)-2] + "AA" })
	post(origin, func(b *wire.Beacon) { b.Key = docsKey })
	post(docs, func(b *wire.Beacon) { b.Key = docsKey })
	post(origin, func(*wire.Beacon) {})
	post(origin, func(*wire.Beacon) {})
	facts := r.history("evt.>", 2)
	if facts[1].Type != event.FactType("botstar", event.FactWidgetClosed) {
		t.Errorf("the second fact is %s", facts[1].Type)
	}
	p.say(signal(4, "widget.opened", "visitor", "", "null"))
	r.history("evt.>", 3)
	bustest.Until(t, "the facts are counted", func() bool { return r.gateway.Stats().Facts == 3 })
	s := r.gateway.Stats()
	if s.Facts != 3 || s.Tracks != 1 || s.Forged != 2 || s.Origins != 2 {
		t.Errorf("%+v", s)
	}
}

func TestConfigAndFiles(t *testing.T) {
	t.Parallel()
	r := setup(t, func(o *visitor.Options) {
		o.File = func(name string) ([]byte, string, bool) { return []byte("x"), "text/javascript", name == "parley-1.js" }
	})
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		wire.ConfigPath + "/" + shopKey + ".json": {200, `{"enabled":true,"driver":"botstar","load":"action"}`},
		wire.ConfigPath + "/" + shopKey:           {404, ""},
		wire.ConfigPath + "/pk_nobody.json":       {404, ""},
		wire.FilesPath + "/parley-1.js":           {200, "x"},
		wire.FilesPath + "/other.js":              {404, ""},
		"/healthz":                                {200, "ok\n"},
		"/":                                       {404, ""},
	} {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.address+path, http.NoBody)
		must(t, err)
		answer, err := client().Do(q)
		must(t, err)
		body, err := io.ReadAll(answer.Body)
		must(t, errors.Join(err, answer.Body.Close()))
		if answer.StatusCode != want.status || want.status == 200 && string(body) != want.body {
			t.Errorf("%s: %d %q", path, answer.StatusCode, body)
		}
	}
}

// A gateway that stops has its pages connect elsewhere, and closes who is left.
func TestDrain(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	one, two := join(t, b), join(t, b)
	stays := one.connect(t, hello("stays", func(h *wire.Hello) { h.AnonymousID = anonymous(2) }))
	p := one.connect(t, hello("one"))
	p.say(signal(1, "widget.opened", "visitor", "", "null"))
	stopped := make(chan struct{})
	go func() { defer close(stopped); one.stop() }()
	if !p.wait(wire.KindDrain, 1) {
		t.Fatal("no drain came")
	}
	if _, err := one.dial(t, origin); err == nil {
		t.Error("a gateway that stops lets somebody in")
	}
	next := two.connect(t, hello("one"))
	p.leave()
	if code := stays.ends(); code != wire.CloseGoing {
		t.Errorf("who is left ends with %d", code)
	}
	<-stopped
	if here, there, err := visitor.Find(t.Context(), b, "shop", next.welcome.Session); err != nil || !there || here.Life != "one" {
		t.Errorf("after the handover: %+v %t %v", here, there, err)
	}
	one.history("evt.>", 1)
}
