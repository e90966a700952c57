//go:build browser

package snippet_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/visitor/snippet"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// stored counts what the page's origin keeps in the browser.
const stored = `localStorage.length + sessionStorage.length + (document.cookie === "" ? 0 : 1)`

// requested lists the hosts that the page has asked anything of.
const requested = `Array.from(new Set(performance.getEntriesByType("resource").map((e) => new URL(e.name).pathname.replace(/-[0-9a-f]{12}/, "")))).sort()`

// TestConsentFirst keeps the page silent and without storage until the visitor
// agrees, and makes it so again when he changes his mind.
func TestConsentFirst(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, func(s *snippet.Site) { s.Consent = snippet.ConsentAsk }), `<script nonce="n0nce">
window.early = () => { parley("track", "Early"); parley.identify({ anonymous_id: "a-known-id" }); };
</script>`)
	visitor := w.visitor("/")
	visitor.run(`early()`)
	visitor.run(`new Promise((r) => setTimeout(r, 600))`)
	if got := eval[int](visitor, stored); got != 0 {
		t.Errorf("before consent the page keeps %d things", got)
	}
	if diff := cmp.Diff([]string{"/v1/files/parley.js"}, eval[[]string](visitor, requested+`.filter((p) => p.startsWith("/v1"))`)); diff != "" {
		t.Errorf("before consent the page asked for (-want +got):\n%s", diff)
	}
	visitor.run(`parley.consent({ analytics: true, functionality: false })`)
	w.gateway.never("a connection without consent", 300*time.Millisecond, func() bool { return len(w.gateway.hellos) > 0 })

	visitor.run(`parley.consent({ functionality: true })`)
	w.gateway.connected(1)
	hello := get(w.gateway, func() wire.Hello { return w.gateway.hellos[0] })
	if hello.AnonymousID != "a-known-id" || hello.Consent.Functionality == nil || !*hello.Consent.Functionality || hello.Consent.Advertising != nil {
		t.Errorf("the hello is %+v", hello)
	}
	w.gateway.until("the track from before consent", func() bool { return len(w.gateway.tracks) == 1 && w.gateway.tracks[0].Name == "Early" })
	if got := eval[int](visitor, stored); got != 2 {
		t.Errorf("with consent the page keeps %d things, want 2", got)
	}
	if answer := w.gateway.do("k/boot", "boot", settings()); !answer.OK {
		t.Fatal(answer.JSON)
	}

	visitor.run(`parley.consent({ functionality: false })`)
	w.gateway.connected(0)
	w.gateway.until("the word that he does not agree", func() bool {
		n := len(w.gateway.consents)
		return n > 0 && !*w.gateway.consents[n-1].Functionality && w.gateway.byes > 0
	})
	if got := eval[int](visitor, stored); got != 0 {
		t.Errorf("after the no the page keeps %d things", got)
	}
	visitor.run(gone)
	visitor.run(`parley.track("Late")`)
	w.gateway.never("anything after the no", 500*time.Millisecond, func() bool { return len(w.gateway.live) > 0 || len(w.gateway.tracks) > 1 })

	visitor.run(`parley.consent({ functionality: true })`)
	w.gateway.connected(1)
	visitor.clean()
}

// gone resolves when the widget is not on the page.
const gone = `new Promise((resolve, reject) => {
  const there = () => document.querySelector('iframe[name="bs-chatbot-widget-frame"]');
  const timer = setTimeout(() => reject(new Error("the widget is still there")), 5000);
  const look = () => there() ? requestAnimationFrame(look) : (clearTimeout(timer), resolve());
  look();
})`

// TestConsentOfOthers hears Google's consent mode, and respects the browser's
// own wish.
func TestConsentOfOthers(t *testing.T) {
	t.Parallel()
	const gpc = `<script nonce="n0nce">Object.defineProperty(navigator, "globalPrivacyControl", { value: true });</script>`
	const gtag = `<script nonce="n0nce">window.dataLayer = []; function gtag() { dataLayer.push(arguments); }`
	const denied = `gtag("consent", "default", { ad_storage: "denied", analytics_storage: "denied", functionality_storage: "denied" });`
	const granted = `gtag("consent", "default", { ad_storage: "granted", analytics_storage: "granted", functionality_storage: "granted" });`
	yes, no := true, false
	w := setup(t, vendor.Options{})
	for _, test := range []struct {
		name, mode, head, then string
		want                   *wire.Consent // nil: no connection
	}{
		{"google denies", snippet.ConsentGoogle, gtag + denied + `</script>`, "", nil},
		{"google says nothing", snippet.ConsentGoogle, "", "", nil},
		{"google is not asked", snippet.ConsentAsk, gtag + granted + `</script>`, "", nil},
		{
			"google is told later", snippet.ConsentGoogle, gtag + denied + `</script>`,
			`gtag("consent", "update", { functionality_storage: "granted" })`,
			&wire.Consent{Advertising: &no, Analytics: &no, Functionality: &yes},
		},
		{"google has been told", snippet.ConsentGoogle, gtag + granted + `</script>`, "", &wire.Consent{Advertising: &yes, Analytics: &yes, Functionality: &yes}},
		{"a default under GPC", snippet.ConsentGoogle, gpc + gtag + granted + `</script>`, "", &wire.Consent{Advertising: &no, Analytics: &no, Functionality: &yes, GPC: &yes}},
		{
			"the site answers under GPC", snippet.ConsentGiven, gpc, "",
			&wire.Consent{Advertising: &no, Analytics: &no, Functionality: &yes, Personalization: &no, GPC: &yes},
		},
		{
			"the visitor's own yes under GPC", snippet.ConsentAsk, gpc, `parley.consent({ functionality: true, analytics: true, advertising: true })`,
			&wire.Consent{Advertising: &no, Analytics: &yes, Functionality: &yes, GPC: &yes},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := "/" + http.CanonicalHeaderKey(test.name)
			w.page(path, tag(t, func(s *snippet.Site) { s.Consent = test.mode }), test.head)
			before := get(w.gateway, func() int { return len(w.gateway.hellos) })
			visitor := w.visitor(path)
			if test.then != "" {
				visitor.run(test.then)
			}
			if test.want == nil {
				w.gateway.never("a connection", 500*time.Millisecond, func() bool { return len(w.gateway.hellos) > before })
				return
			}
			w.gateway.until("a connection", func() bool { return len(w.gateway.hellos) > before })
			got := get(w.gateway, func() wire.Consent { return w.gateway.hellos[before].Consent })
			if diff := cmp.Diff(*test.want, got); diff != "" {
				t.Errorf("the consent differs (-want +got):\n%s", diff)
			}
			visitor.clean()
			visitor.end()
		})
	}
}

// TestRevokedEverywhere: a no in one tab is a no in all tabs of the browser, the
// one with the connection among them, and nobody keeps anything.
func TestRevokedEverywhere(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, func(s *snippet.Site) { s.Consent = snippet.ConsentAsk }), "")
	one := w.visitor("/")
	one.run(`parley.consent({ functionality: true, analytics: true })`)
	w.gateway.connected(1)
	first := w.gateway.lives()[0]
	if answer := w.gateway.do("k/boot", "boot", settings()); !answer.OK {
		t.Fatal(answer.JSON)
	}
	two := w.another(one, "/")
	two.run(`parley.consent({ functionality: true, analytics: true })`)
	w.gateway.until("the second tab's connection", func() bool { return len(w.gateway.live) == 1 && w.gateway.live[0].hello.Life != first })
	if answer := w.gateway.do("k2/boot", "boot", settings()); !answer.OK {
		t.Fatal(answer.JSON)
	}
	hellos := get(w.gateway, func() int { return len(w.gateway.hellos) })

	one.run(`parley.consent({ functionality: false })`)
	w.gateway.connected(0)
	for _, tab := range []*tab{one, two} {
		tab.run(gone)
		if got := eval[int](tab, stored); got != 0 {
			t.Errorf("a tab keeps %d things", got)
		}
		tab.run(`parley.track("Late"); window.dispatchEvent(new Event("focus"))`)
		tab.clean()
	}
	w.gateway.never("another connection, or a track", 700*time.Millisecond, func() bool {
		return len(w.gateway.hellos) > hellos || len(w.gateway.tracks) > 0
	})
}
