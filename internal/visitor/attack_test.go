package visitor_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/visitor"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// jwt makes a token with any head and claims.
func jwt(key []byte, head, claims string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// forgeries are what is not a customer's word on who is logged in.
func forgeries(now time.Time, lure string) map[string]string {
	good := fmt.Sprintf(`{"sub":"ada","aud":"shop","exp":%d}`, now.Add(time.Hour).Unix())
	claims := func(format string, args ...any) string {
		return jwt([]byte(backend), hs256, fmt.Sprintf(format, args...))
	}
	head := func(head string) string { return jwt([]byte(backend), head, good) }
	soon := now.Add(time.Hour).Unix()
	valid := jwt([]byte(backend), hs256, good)
	parts := strings.Split(valid, ".")
	return map[string]string{
		"alg none":                 base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".",
		"alg none, signed":         head(`{"alg":"none","typ":"JWT"}`),
		"alg None":                 head(`{"alg":"None"}`),
		"alg HS384":                head(`{"alg":"HS384"}`),
		"alg RS256":                head(`{"alg":"RS256"}`),
		"alg twice":                head(`{"alg":"HS256","alg":"none"}`),
		"no alg":                   head(`{"typ":"JWT"}`),
		"head is no JSON":          head(`HS256`),
		"another key":              jwt([]byte("the secret of somebody else, quite long"), hs256, good),
		"no key":                   jwt(nil, hs256, good),
		"key of our tokens":        jwt([]byte(secret), hs256, good),
		"kid names another key":    jwt([]byte("x"), `{"alg":"HS256","kid":"../../../../dev/null"}`, good),
		"key by address":           jwt([]byte("x"), `{"alg":"HS256","jku":"http://`+lure+`/keys","x5u":"http://`+lure+`/"}`, good),
		"key inside":               jwt([]byte("x"), `{"alg":"HS256","jwk":{"kty":"oct","k":"eA"}}`, good),
		"lapsed":                   claims(`{"sub":"ada","exp":%d}`, now.Add(-time.Second).Unix()),
		"lapses never":             claims(`{"sub":"ada"}`),
		"lapses in a year":         claims(`{"sub":"ada","exp":%d}`, now.Add(365*24*time.Hour).Unix()),
		"lapses as text":           claims(`{"sub":"ada","exp":"%d"}`, soon),
		"of the future":            claims(`{"sub":"ada","exp":%d,"nbf":%d}`, soon, now.Add(10*time.Minute).Unix()),
		"issued in the future":     claims(`{"sub":"ada","exp":%d,"iat":%d}`, soon, now.Add(10*time.Minute).Unix()),
		"for another site":         claims(`{"sub":"ada","aud":"docs","exp":%d}`, soon),
		"for other sites":          claims(`{"sub":"ada","aud":["docs","parley-visitor"],"exp":%d}`, soon),
		"for nobody":               claims(`{"sub":"ada","aud":[],"exp":%d}`, soon),
		"names nobody":             claims(`{"exp":%d}`, soon),
		"names nobody in words":    claims(`{"sub":"","email":"","exp":%d}`, soon),
		"too long a name":          claims(`{"sub":%q,"exp":%d}`, strings.Repeat("a", 300), soon),
		"claims are no JSON":       claims(`sub=ada`),
		"claims are a list":        claims(`[]`),
		"cut":                      valid[:len(valid)-5],
		"no signature":             parts[0] + "." + parts[1] + ".",
		"two parts":                parts[0] + "." + parts[1],
		"four parts":               valid + "." + parts[2],
		"another body":             parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(good, "ada", "bob", 1))) + "." + parts[2],
		"padded":                   parts[0] + "." + parts[1] + "." + parts[2] + "=",
		"another last character":   valid[:len(valid)-1] + other(valid[len(valid)-1]),
		"space":                    " " + valid,
		"empty parts":              "..",
		"too long":                 valid + strings.Repeat("A", 8192),
		"text":                     "ada",
		"another head in front":    parts[0] + parts[0] + "." + parts[1] + "." + parts[2],
		"a signature of null":      parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 32)),
		"a signature of nothing":   parts[0] + "." + parts[1] + ".AA",
		"standard base64 alphabet": strings.NewReplacer("-", "+", "_", "/").Replace(valid) + "+",
	}
}

const hs256 = `{"alg":"HS256","typ":"JWT"}`

// other returns another character of the alphabet that changes bits that count.
func other(c byte) string {
	if c == 'A' {
		return "Q"
	}
	return "A"
}

// Security rows VG3, VG4 and VG6: no forged identity and no forged token lets
// anybody in, however often it is tried.
func TestForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	r := setup(t)
	tried := 0
	fetched := make(chan struct{})
	lure, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go func() {
		defer close(fetched)
		if c, err := lure.Accept(); err == nil {
			_ = c.Close()
			t.Error("keys are fetched from where a token says")
		}
	}()
	refused := func(name string, change func(*wire.Hello)) {
		t.Helper()
		tried++
		p := r.begin(t, origin, hello(fmt.Sprintf("forged-%d", tried), change))
		if code := p.ends(); code != wire.CloseToken || len(p.all(wire.KindWelcome)) > 0 {
			t.Errorf("%s: closed with %d after %d welcomes", name, code, len(p.all(wire.KindWelcome)))
		}
	}
	for name, token := range forgeries(now, lure.Addr().String()) {
		refused("identity: "+name, func(h *wire.Hello) { h.Identity = token })
		refused("token: "+name, func(h *wire.Hello) { h.Token = token })
	}
	// What is good elsewhere.
	docs := r.begin(t, docs, hello("docs", func(h *wire.Hello) { h.Key = docsKey }))
	if !docs.wait(wire.KindWelcome, 1) {
		t.Fatal("not welcomed")
	}
	var there wire.Welcome
	must(t, json.Unmarshal(docs.all(wire.KindWelcome)[0], &there))
	refused("token of another site", func(h *wire.Hello) { h.Token = there.Token })
	refused("token as identity", func(h *wire.Hello) { h.Identity = there.Token })
	identity, err := visitor.SignIdentity([]byte(backend), "shop", event.Visitor{UserID: "ada"}, now.Add(time.Hour))
	must(t, err)
	refused("identity as token", func(h *wire.Hello) { h.Token = identity })
	refused("an anonymous id that can be guessed", func(h *wire.Hello) { h.AnonymousID = "1234567890" })
	refused("nobody", func(h *wire.Hello) { h.AnonymousID = "" })
	s := r.gateway.Stats()
	if s.Opened != 1 || s.Refused != int64(tried) || s.Forged != int64(tried-2) {
		t.Errorf("%d were tried: %+v", tried, s)
	}
	// And the good one lets in whom it says.
	p := r.connect(t, hello("good", func(h *wire.Hello) { h.Identity = identity }))
	if want := event.SessionKey("shop", event.Visitor{UserID: "ada"}); p.welcome.Session != want {
		t.Errorf("the session is %s, want %s", p.welcome.Session, want)
	}
	must(t, lure.Close())
	<-fetched
	t.Logf("%d forgeries, accepted 0, keys fetched 0", tried)
}

// VG3: a token lets in once, also when many try at the same time, at two gateways.
func TestTokenIsUsedOnce(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	gateways := []*rig{join(t, b), join(t, b)}
	p := gateways[0].connect(t, hello("one"))
	p.leave()
	const rounds, thieves = 5, 8
	token := p.welcome.Token
	for round := range rounds {
		var in atomic.Int64
		var welcome atomic.Pointer[string]
		var all sync.WaitGroup
		for i := range thieves {
			life := fmt.Sprintf("life-%d-%d", round, i)
			q := gateways[i%2].begin(t, origin, hello(life, func(h *wire.Hello) { h.Token, h.AnonymousID = token, "" }))
			all.Go(func() {
				if q.wait(wire.KindWelcome, 1) {
					in.Add(1)
					var w wire.Welcome
					if json.Unmarshal(q.all(wire.KindWelcome)[0], &w) == nil {
						welcome.Store(&w.Token)
					}
				} else if code := q.closedWith(); code != wire.CloseToken {
					t.Errorf("who comes second is closed with %d", code)
				}
			})
		}
		all.Wait()
		if in.Load() != 1 {
			t.Fatalf("round %d: %d were let in with one token", round, in.Load())
		}
		token = *welcome.Load()
	}
	replayed := gateways[0].gateway.Stats().Replayed + gateways[1].gateway.Stats().Replayed
	if replayed != rounds*(thieves-1) {
		t.Errorf("%d replays were refused, want %d", replayed, rounds*(thieves-1))
	}
}

// VG5, G9: who is not who he was any more is closed within 5 s, and nothing is
// taken of him after.
func TestLiveConnectionsLapse(t *testing.T) {
	t.Parallel()
	r := setup(t)
	lapsing, revoked := bustest.Count(10, 100), bustest.Count(10, 100)
	until := time.Now().Add(4 * time.Second).Truncate(time.Second)
	pages := make([]*page, lapsing+revoked)
	for i := range pages {
		pages[i] = r.connect(t, hello(fmt.Sprintf("life-%d", i), func(h *wire.Hello) {
			h.AnonymousID = anonymous(i)
			if i < lapsing {
				var err error
				h.Identity, err = visitor.SignIdentity([]byte(backend), "shop", event.Visitor{UserID: fmt.Sprintf("u-%d", i)}, until)
				must(t, err)
			}
		}))
	}
	for _, p := range pages[lapsing:] {
		there, err := visitor.Revoke(t.Context(), r.bus, "shop", p.welcome.Session)
		if err != nil || !there {
			t.Fatalf("revoking: %t, %v", there, err)
		}
		if code := p.ends(); code != wire.CloseToken {
			t.Errorf("a revoked one: closed with %d", code)
		}
	}
	for _, p := range pages[:lapsing] {
		if code := p.ends(); code != wire.CloseToken {
			t.Errorf("a lapsed one: closed with %d", code)
		}
	}
	late := time.Since(until)
	if late > 5*time.Second {
		t.Errorf("lapsed identities lived %s", late)
	}
	frames := r.gateway.Stats().Frames
	for _, p := range pages {
		p.say(track(1, "too late"))
	}
	for i, p := range pages[:lapsing] { // The token of that time says no more than the identity did.
		again := r.begin(t, origin, hello(fmt.Sprintf("again-%d", i), func(h *wire.Hello) { h.Token = p.welcome.Token }))
		if code := again.ends(); code != wire.CloseToken {
			t.Errorf("its token: closed with %d", code)
		}
	}
	if s := r.gateway.Stats(); s.Frames != frames+int64(lapsing) || s.Tracks != 0 || s.Forged != int64(lapsing) {
		t.Errorf("%d frames before, and %+v", frames, s)
	}
	t.Logf("%d lapsed identities closed %s after, %d revoked: 0 frames taken after that", lapsing, late.Round(time.Millisecond), revoked)
}

// VG1: only the site's own pages connect, by scheme, host and port.
func TestCrossSiteIsRefused(t *testing.T) {
	t.Parallel()
	r := setup(t)
	var tried int64
	for _, from := range []string{
		"", "null", "https://evil.example.test", "http://shop.example.test", "https://shop.example.test:443", "https://shop.example.test:8080",
		"https://shop.example.test.evil.test", "https://evilshop.example.test", "https://example.test", "https://sub.shop.example.test",
		"https://shop.example.test/", "HTTPS://SHOP.EXAMPLE.TEST", "https://shop.example.test@evil.test", "https://SHOP.example.test",
		"file://", "chrome-extension://abc", "https://shop.example.test https://evil.test", "https://shop.example.test%00.evil.test", "wss://shop.example.test",
	} {
		for range bustest.Count(20, 265) {
			tried++
			ws, err := r.dial(t, from)
			if err == nil {
				_ = ws.CloseNow()
				t.Fatalf("the origin %q may connect", from)
			}
		}
	}
	// A page of one site with the key of another.
	for i := range 20 {
		tried++
		p := r.begin(t, docs, hello(fmt.Sprintf("cross-%d", i)))
		if code := p.ends(); code != wire.CloseRefused {
			t.Errorf("another site's page is closed with %d", code)
		}
	}
	if s := r.gateway.Stats(); s.Opened != 0 || s.Origins != tried {
		t.Errorf("%d attempts: %+v", tried, s)
	}
	for name, change := range map[string]func(*wire.Hello){
		"unknown key":        func(h *wire.Hello) { h.Key = "pk_nobody_0123456" },
		"a site that is off": func(h *wire.Hello) { h.Key = "pk_off_0123456789" },
		"another version":    func(h *wire.Hello) { h.V = 2 },
	} {
		if code := r.begin(t, origin, hello("x", change)).ends(); code != wire.CloseRefused {
			t.Errorf("%s: closed with %d", name, code)
		}
	}
	if p := r.connect(t, hello("port")); p.welcome.Token == "" {
		t.Error("not welcomed")
	}
	t.Logf("%d handshakes and hellos of other origins, accepted 0", tried)
}

// G10: whatever a page sends, it speaks and acts for its own visitor, and
// answers only what it was asked.
func TestPageSpeaksForItself(t *testing.T) {
	t.Parallel()
	r := setup(t)
	ada := r.connect(t, hello("ada"))
	tab, err := visitor.Open(t.Context(), r.bus, "shop", ada.welcome.Session)
	must(t, err)
	defer func() { must(t, tab.Close(t.Context())) }()
	ended := make(chan error, 1)
	go func() { ended <- tab.Call(t.Context(), "open", map[string]any{"key": "k/open"}, nil) }()
	if !ada.wait(wire.KindCall, 1) {
		t.Fatal("no call came")
	}
	var c wire.Call
	must(t, json.Unmarshal(ada.all(wire.KindCall)[0], &c))
	const forged = 160
	pages := bustest.Count(12, 63)
	var mallory *page
	for i := range pages * forged {
		if i%forged == 0 {
			if mallory != nil && !mallory.until(func() bool { // What waits to be stored is bounded.
				return strings.Contains(fmt.Sprintf("%s", mallory.all(wire.KindAck)), fmt.Sprintf(`"n":%d}`, i))
			}) {
				t.Fatalf("closed with %d after %d", mallory.closedWith(), i)
			}
			mallory = r.connect(t, hello(fmt.Sprintf("mallory-%d", i), func(h *wire.Hello) { h.AnonymousID, h.Tab = anonymous(66), "mallory" }))
		}
		switch i % 4 {
		case 0: // the answer to somebody else's call
			mallory.say(wire.Answer{T: wire.KindAnswer, ID: c.ID, Seq: c.Seq, OK: true, JSON: `{"ok":true}`})
		case 1: // a signal that names another session
			mallory.raw(fmt.Appendf(nil, `{"t":"signal","n":%d,"session":%q,"json":"{\"name\":\"widget.opened\",\"cause\":\"api\",\"key\":\"k/open\",\"seq\":1,\"at_ms\":1}"}`, i+1, ada.welcome.Session))
		case 2: // a signal that is none
			mallory.raw(fmt.Appendf(nil, `{"t":"signal","n":%d,"json":"{\"name\":\"../widget\",\"cause\":\"api\",\"seq\":1}"}`, i+1))
		case 3: // an event that names another visitor
			mallory.raw(fmt.Appendf(nil, `{"t":"track","n":%d,"name":"x","visitor":{"user_id":"ada"},"url":""}`, i+1))
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("the call ended by somebody else's answer: %v", err)
	default:
	}
	ada.say(wire.Answer{T: wire.KindAnswer, ID: c.ID, Seq: c.Seq, OK: true, JSON: `{"ok":true}`})
	must(t, <-ended)
	for _, e := range r.history("evt.>", pages*forged/4) {
		var opened event.WidgetOpened
		must(t, json.Unmarshal(e.Data, &opened))
		if opened.Session != mallory.welcome.Session || opened.Cause != event.CauseVisitor || opened.CommandID != "" {
			t.Fatalf("a forged fact: %+v", opened)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.tracks {
		if one.Visitor != (event.Visitor{AnonymousID: anonymous(66)}) {
			t.Fatalf("a forged event: %+v", one)
		}
	}
	t.Logf("%d frames of somebody else's answers, signals and events, accepted 0", pages*forged)
}

// G8: what is no frame closes its connection with the code for it, and the
// gateway goes on.
func TestMalformedFrames(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for name, test := range map[string]struct {
		data []byte
		kind websocket.MessageType
		code int
	}{
		"too large":          {[]byte(`{"t":"signal","n":1,"json":"` + strings.Repeat("x", wire.MaxFrame) + `"}`), websocket.MessageText, wire.CloseTooBig},
		"binary":             {[]byte(`{"t":"ping"}`), websocket.MessageBinary, wire.CloseProtocol},
		"no UTF-8":           {[]byte("{\"t\":\"ping\",\"x\":\"\xff\"}"), websocket.MessageText, wire.CloseInvalid},
		"no JSON":            {[]byte(`{"t":`), websocket.MessageText, wire.CloseInvalid},
		"empty":              {nil, websocket.MessageText, wire.CloseInvalid},
		"a list":             {[]byte(`[]`), websocket.MessageText, wire.CloseProtocol},
		"another kind":       {[]byte(`{"t":"welcome"}`), websocket.MessageText, wire.CloseProtocol},
		"no kind":            {[]byte(`{}`), websocket.MessageText, wire.CloseProtocol},
		"a second hello":     {[]byte(`{"t":"hello","v":1}`), websocket.MessageText, wire.CloseProtocol},
		"a signal without n": {[]byte(`{"t":"signal","json":"{}"}`), websocket.MessageText, wire.CloseProtocol},
		"n below":            {[]byte(`{"t":"signal","n":-1,"json":"{}"}`), websocket.MessageText, wire.CloseProtocol},
		"n as text":          {[]byte(`{"t":"signal","n":"1","json":"{}"}`), websocket.MessageText, wire.CloseProtocol},
		"n above":            {[]byte(`{"t":"track","n":9223372036854775807,"name":"x"}`), websocket.MessageText, wire.CloseProtocol},
		"an answer to none":  {[]byte(`{"t":"answer","json":"x"}`), websocket.MessageText, wire.CloseProtocol},
		"a focus without on": {[]byte(`{"t":"focus"}`), websocket.MessageText, wire.CloseProtocol},
		"a page of a list":   {[]byte(`{"t":"page","url":[]}`), websocket.MessageText, wire.CloseProtocol},
	} {
		p := r.connect(t, hello("x", func(h *wire.Hello) { h.AnonymousID = "anonymous " + strings.Repeat(name+" ", 4) }))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_ = p.ws.Write(ctx, test.kind, test.data) // It may be closed meanwhile.
		cancel()
		if code := p.ends(); code != test.code {
			t.Errorf("%s: closed with %d, want %d", name, code, test.code)
		}
	}
	if p := r.connect(t, hello("after")); p.welcome.Token == "" {
		t.Error("the gateway does not go on")
	}
}

// G7: a flood ends its own connection, and nobody else's.
func TestFlood(t *testing.T) {
	t.Parallel()
	r := setup(t, func(o *visitor.Options) { o.Limits.Connects, o.Limits.PerIP = 50, 100 })
	quiet := r.connect(t, hello("quiet", func(h *wire.Hello) { h.AnonymousID = anonymous(7) }))
	loud := r.connect(t, hello("loud"))
	for range 10_000 {
		loud.raw([]byte(`{"t":"ping"}`))
		if loud.closedWith() != 0 {
			break
		}
	}
	if code := loud.ends(); code != wire.ClosePolicy {
		t.Errorf("a flood is closed with %d", code)
	}
	frames := r.gateway.Stats().Frames
	if frames > 2*wire.FramesBurst {
		t.Errorf("%d frames were worked on", frames)
	}
	quiet.say(wire.Head{T: wire.KindPing})
	if !quiet.wait(wire.KindPong, 1) {
		t.Error("the quiet one was closed")
	}
	refused := 0
	for range 700 {
		ws, err := r.dial(t, origin)
		if err != nil {
			refused++
			continue
		}
		defer func() { _ = ws.CloseNow() }()
	}
	if refused < 100 || r.gateway.Stats().Connections > 100 {
		t.Errorf("of 700 connections at once %d were refused, and %d are open", refused, r.gateway.Stats().Connections)
	}
}

// G6: who does not read loses the connection, and costs no more than the limit.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	r := setup(t, func(o *visitor.Options) { o.Limits.Output, o.Limits.Write = 64<<10, time.Second })
	ws, err := r.dialBy(t, narrow(), origin)
	must(t, err)
	defer func() { _ = ws.CloseNow() }()
	first, err := json.Marshal(hello("slow"))
	must(t, err)
	must(t, ws.Write(t.Context(), websocket.MessageText, first))
	var key string
	bustest.Until(t, "the visitor is there", func() bool {
		key = sessionOf("shop", anonymous(1))
		_, there, err := visitor.Find(t.Context(), r.bus, "shop", key)
		return err == nil && there
	})
	tab, err := visitor.Open(t.Context(), r.bus, "shop", key)
	must(t, err)
	defer func() { must(t, tab.Close(t.Context())) }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	large := strings.Repeat("x", 48<<10)
	var callers sync.WaitGroup
	for range 32 {
		callers.Go(func() { // Until the sockets' own buffers, of whatever size, are full.
			for ctx.Err() == nil {
				call, stop := context.WithTimeout(ctx, 100*time.Millisecond)
				_ = tab.Call(call, "look.at", map[string]any{"arg": large}, nil)
				stop()
			}
		})
	}
	bustest.Until(t, "the slow reader is closed", func() bool {
		_, there, err := visitor.Find(t.Context(), r.bus, "shop", key)
		return err == nil && !there
	})
	cancel()
	callers.Wait()
	if s := r.gateway.Stats(); s.Slow == 0 && s.Connections > 0 {
		t.Errorf("%+v", s)
	}
}

// A connection that says nothing, or is half open, is closed.
func TestSilence(t *testing.T) {
	t.Parallel()
	r := setup(t, func(o *visitor.Options) { o.Limits.Hello, o.Limits.Idle = 500*time.Millisecond, 1500*time.Millisecond })
	silent := &page{t: t, more: make(chan struct{})}
	var err error
	silent.ws, err = r.dial(t, origin)
	must(t, err)
	var reading sync.WaitGroup
	reading.Go(silent.read)
	defer reading.Wait()
	if code := silent.ends(); code != wire.CloseProtocol {
		t.Errorf("without a hello it closes with %d", code)
	}
	p := r.connect(t, hello("idle"))
	if code := p.ends(); code != wire.CloseGoing {
		t.Errorf("a silent one closes with %d", code)
	}
}

// G8, at random: frames that are almost right. Whatever comes, the connection
// lives, or ends with a code of the protocol; the gateway goes on.
func TestFramesAtRandom(t *testing.T) {
	t.Parallel()
	r := setup(t)
	seeds := []string{
		`{"t":"ping"}`, `{"t":"answer","id":"x","seq":1,"ok":true,"json":"{}"}`, `{"t":"focus","on":true}`,
		`{"t":"signal","n":1,"json":"{\"name\":\"widget.opened\",\"cause\":\"visitor\",\"seq\":1,\"at_ms\":1}"}`,
		`{"t":"track","n":2,"name":"x","properties":{"a":[1,2,{"b":null}]},"url":"https://shop.example.test/","age_ms":5}`,
		`{"t":"page","url":"https://shop.example.test/a","title":"b"}`, `{"t":"consent","consent":{"analytics":true}}`,
		`{"t":"hello","v":1,"key":"` + shopKey + `","life":"a","tab":"b","url":"","consent":{}}`,
	}
	const frames = 4000
	random := rand.New(rand.NewPCG(1, 2))
	codes := map[int]int{}
	var p *page
	for i := range frames {
		if p == nil || p.closedWith() != 0 || i%150 == 0 {
			p = r.connect(t, hello(fmt.Sprintf("random-%d", i), func(h *wire.Hello) { h.AnonymousID = anonymous(i) }))
		}
		p.raw(mutate(random, seeds[random.IntN(len(seeds))]))
		if i%3 == 0 {
			p.say(wire.Head{T: wire.KindPing})
			p.until(func() bool { return len(p.all(wire.KindPong)) > 0 })
			codes[p.closedWith()]++
		}
	}
	for code := range codes {
		switch code {
		case 0, wire.CloseProtocol, wire.CloseInvalid, wire.ClosePolicy, wire.CloseBusy, wire.CloseTooBig:
		default:
			t.Errorf("%d connections end with %d", codes[code], code)
		}
	}
	if p := r.connect(t, hello("after")); p.welcome.Token == "" {
		t.Error("the gateway does not go on")
	}
	t.Logf("%d frames: %v", frames, codes)
}

// mutate changes a few bytes.
func mutate(random *rand.Rand, seed string) []byte {
	data := []byte(seed)
	for range random.IntN(4) {
		at := random.IntN(len(data))
		switch random.IntN(4) {
		case 0:
			data[at] = byte(random.IntN(256))
		case 1:
			data = append(data[:at:at], data[at+1:]...)
		case 2:
			data = append(data[:at:at], append([]byte(seed[:min(at, len(seed))]), data[at:]...)...)
		case 3:
			const special = `"{}[]\:,0-9e\u0000null`
			data[at] = special[random.IntN(len(special))]
		}
		if len(data) == 0 {
			return nil
		}
	}
	return data
}

// Security row 8c: neither a token nor an identity nor an anonymous id is in the
// log, whatever happens, and none is ever in an address.
func TestSecretsAreNotLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer // Its handler writes one after another, and it is read when the gateway has ended.
	r := joinLogged(t, bustest.Start(t), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	identity, err := visitor.SignIdentity([]byte(backend), "shop", event.Visitor{UserID: "ada-of-the-test"}, time.Now().Add(time.Hour))
	must(t, err)
	p := r.connect(t, hello("one", func(h *wire.Hello) { h.Identity = identity }))
	p.say(signal(1, "widget.opened", "visitor", "", "null"))
	r.history("evt.>", 1)
	p.leave()
	secrets := []string{identity, p.welcome.Token, "ada-of-the-test", anonymous(1), secret, backend}
	r.connect(t, hello("again", func(h *wire.Hello) { h.Token = p.welcome.Token })).leave()
	for i, token := range []string{p.welcome.Token, p.welcome.Token + "x", identity + "x"} {
		r.begin(t, origin, hello(fmt.Sprintf("again-%d", i), func(h *wire.Hello) { h.Token = token })).ends()
		r.begin(t, origin, hello(fmt.Sprintf("mine-%d", i), func(h *wire.Hello) { h.Identity = token + "y" })).ends()
	}
	r.begin(t, origin, hello("spoilt", func(h *wire.Hello) { h.AnonymousID = anonymous(1)[:10] })).ends()
	r.stop()
	seen := log.String()
	for _, one := range secrets {
		if strings.Contains(seen, one) {
			t.Errorf("the log has %q:\n%s", one, seen)
		}
	}
	if !strings.Contains(seen, "a visitor is not let in") {
		t.Errorf("the log tells nothing:\n%s", seen)
	}
}
