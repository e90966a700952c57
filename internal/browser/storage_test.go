//go:build browser

package browser

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/fault"
)

// odd are names and values that a script or a JSON reader could stumble over.
var odd = map[string]string{
	"__proto__":    "polluted",
	"constructor":  "x",
	"length":       "7",
	"key":          "\u2028\u2029</script><!--",
	"":             "an empty name",
	"quotes\"'`\\": "${1+1}\r\n\t\x00",
	"moon 🌙":       "🌙 ü é \ufeff",
	"big":          strings.Repeat("0123456789abcdef", 1000),
}

// firstLine notes what a page's first script sees, and gives it to who asks.
const firstLine = `<!doctype html><title>first</title><script>
const all = (area) => Array.from({ length: Storage.prototype.__lookupGetter__("length").call(area) }, (_, i) => Storage.prototype.key.call(area, i))
  .map((name) => [name, Storage.prototype.getItem.call(area, name)]);
const now = () => ({ cookie: document.cookie, local: all(localStorage), session: all(sessionStorage) });
const seen = now();
const put = (name, value) => { for (const [area, v] of [[localStorage, value], [sessionStorage, value + "!"]]) Storage.prototype.setItem.call(area, name, v); };
onmessage = (e) => {
  if (e.data.put) for (const [k, v] of e.data.put) put(k, v);
  if (e.data.cookie) document.cookie = e.data.cookie;
  if (e.data.clear) { localStorage.clear(); sessionStorage.clear(); }
  e.ports[0].postMessage(seen);
};
const framed = new Map();
const frame = (url) => { if (!framed.has(url)) framed.set(url, new Promise((done) => {
  const f = document.createElement("iframe"); f.src = url; f.onload = () => done(f); document.body.append(f); })); return framed.get(url); };
async function inFrame(url, job) {
  const f = await frame(url);
  return new Promise((done) => { const c = new MessageChannel(); c.port1.onmessage = (e) => done(e.data); f.contentWindow.postMessage(job, "*", [c.port2]); });
}
function atFirst() { return seen; }
function putAll(pairs, cookie) { for (const [k, v] of pairs) put(k, v); if (cookie) document.cookie = cookie; return 1; }
function wipe() { localStorage.clear(); sessionStorage.clear(); return 1; }
</script><body>`

type sight struct {
	Cookie         string
	Local, Session [][2]string
}

// sorted returns the sight in an order of its own.
func (s sight) sorted() sight {
	byName := func(a, b [2]string) int { return strings.Compare(a[0], b[0]) }
	slices.SortFunc(s.Local, byName)
	slices.SortFunc(s.Session, byName)
	cookies := strings.Split(s.Cookie, "; ")
	slices.Sort(cookies)
	s.Cookie = strings.Join(cookies, "; ")
	return s
}

// planted is what a document sees in which all of odd was put.
func planted(cookies ...string) sight {
	s := sight{Cookie: strings.Join(cookies, "; ")}
	for k, v := range odd {
		s.Local = append(s.Local, [2]string{k, v})
		s.Session = append(s.Session, [2]string{k, v + "!"})
	}
	return s.sorted()
}

func pairsOf(m map[string]string) [][2]string {
	var list [][2]string
	for k, v := range m {
		list = append(list, [2]string{k, v})
	}
	return list
}

func firstSite(t *testing.T) *site {
	t.Helper()
	return newSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if r.URL.Path == "/login" {
			http.SetCookie(w, &http.Cookie{Name: "hidden", Value: "h", HttpOnly: true, Secure: true, MaxAge: 9999, SameSite: http.SameSiteLaxMode})
			http.SetCookie(w, &http.Cookie{Name: "wide", Value: "w", Domain: "example.test", Secure: true})
		}
		if r.URL.Path == "/sent" {
			_, _ = fmt.Fprint(w, r.Header.Get("Cookie"))
			return
		}
		_, _ = fmt.Fprint(w, firstLine)
	}))
}

func firstRequest(whole bool) Request {
	r := lightRequest(firstLine)
	if whole {
		r = fullRequest("/")
	}
	r.Hosts = []string{otherHost}
	return r
}

const (
	vendorFrame = "https://" + widgetHost + "/frame"
	otherFrame  = "https://" + otherHost + "/frame"
)

func run[T any](t *testing.T, tab *Tab, name string, args ...any) T {
	t.Helper()
	return ask[T](t, tab, "run", map[string]any{"name": name, "args": append([]any{}, args...)})
}

func plantAll(t *testing.T, tab *Tab) {
	t.Helper()
	run[int](t, tab, "putAll", pairsOf(odd), "plain=p; secure; max-age=9999")
	for _, url := range []string{vendorFrame, otherFrame} {
		run[sight](t, tab, "inFrame", url, map[string]any{"put": pairsOf(odd), "cookie": "framed=f; secure; samesite=none; partitioned; max-age=9999"})
	}
}

// TestStorageGoesOn plants values in the stores of a page, a vendor's frame and
// a frame of the page's own site, and looks what the first scripts of the same
// page see in another browser.
func TestStorageGoesOn(t *testing.T) {
	t.Parallel()
	for name, whole := range map[string]bool{"light": false, "full": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := firstSite(t)
			from, to := newPool(t, s.options(t)), newPool(t, s.options(t))
			first := open(t, from, firstRequest(whole))
			if err := first.Call(within(t, 10*time.Second), "run", map[string]any{"name": "fetch", "args": []string{"/login"}}, nil); err != nil {
				t.Fatal(err)
			}
			plantAll(t, first)
			stored, err := first.Storage(within(t, 10*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			closeTab(t, first)
			raw, err := json.Marshal(stored)
			if err != nil {
				t.Fatal(err)
			}
			stored = Storage{}
			if err := json.Unmarshal(raw, &stored); err != nil {
				t.Fatal(err)
			}
			if len(stored.Origins) != 3 || len(stored.Cookies) < 5 {
				t.Fatalf("%d origins and %d cookies were kept: %s", len(stored.Origins), len(stored.Cookies), raw)
			}
			r := firstRequest(whole)
			r.Storage = &stored
			second := open(t, to, r)
			compare(t, "the page", planted("plain=p", "wide=w"), run[sight](t, second, "atFirst"))
			compare(t, "the vendor's frame", planted("framed=f"), run[sight](t, second, "inFrame", vendorFrame, map[string]any{}))
			compare(t, "the own frame", planted("framed=f", "wide=w"), run[sight](t, second, "inFrame", otherFrame, map[string]any{}))
			again, err := second.Storage(within(t, 10*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(stored, again, cmp.Transformer("sort", sortStorage)); diff != "" {
				t.Errorf("the storage has changed (-first +again):\n%s", diff)
			}
			closeTab(t, second)
			clean := open(t, to, firstRequest(whole))
			if clean.room != second.room {
				t.Error("the context is not used again")
			}
			for where, got := range map[string]sight{
				"the page":           run[sight](t, clean, "atFirst"),
				"the vendor's frame": run[sight](t, clean, "inFrame", vendorFrame, map[string]any{}),
				"the own frame":      run[sight](t, clean, "inFrame", otherFrame, map[string]any{}),
			} {
				compare(t, where+" of the next session", sight{}, got)
			}
		})
	}
}

func compare(t *testing.T, where string, want, got sight) {
	t.Helper()
	if diff := cmp.Diff(want, got.sorted(), cmp.Transformer("nil", func(l [][2]string) [][2]string { return append([][2]string{}, l...) })); diff != "" {
		t.Errorf("%s (-want +got):\n%s", where, diff)
	}
}

// sortStorage orders what has no order.
func sortStorage(s Storage) map[string]any {
	out := map[string]any{}
	for _, c := range s.Cookies {
		c.Expires = c.Expires.Truncate(time.Second)
		out["cookie "+c.Domain+c.Name] = c
	}
	for _, o := range s.Origins {
		out[fmt.Sprint("origin ", o.Origin, o.Top, o.Crossed)] = []map[string]string{maps.Clone(o.Local), maps.Clone(o.Session)}
	}
	return out
}

// A page that empties its stores, as at a logout, must not find them full again
// after a reload; what a frame is to have waits until the frame comes.
func TestStorageIsFilledOnce(t *testing.T) {
	t.Parallel()
	for name, whole := range map[string]bool{"light": false, "full": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPool(t, firstSite(t).options(t))
			r := firstRequest(whole)
			mine := Origin{Origin: "https://" + shopHost, Top: "https://example.test", Local: map[string]string{"a": "1"}, Session: map[string]string{"b": "2"}}
			theirs := Origin{Origin: "https://" + widgetHost, Top: "https://example.test", Local: map[string]string{"c": "3"}}
			elsewhere := Origin{Origin: "https://" + widgetHost, Top: "https://elsewhere.test", Local: map[string]string{"d": "4"}}
			r.Storage = &Storage{Origins: []Origin{mine, theirs, elsewhere}}
			tab := open(t, p, r)
			for range 2 {
				kept, err := tab.Storage(within(t, 10*time.Second))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]Origin{mine, theirs, elsewhere}, kept.Origins); diff != "" {
					t.Errorf("before the frame comes (-want +got):\n%s", diff)
				}
			}
			compare(t, "the frame that comes late", sight{Local: [][2]string{{"c", "3"}}}, run[sight](t, tab, "inFrame", vendorFrame, map[string]any{"clear": true}))
			run[int](t, tab, "wipe")
			if err := tab.Reload(within(t, 10*time.Second)); err != nil {
				t.Fatal(err)
			}
			compare(t, "the page after a reload", sight{}, run[sight](t, tab, "atFirst"))
			compare(t, "the frame after a reload", sight{}, run[sight](t, tab, "inFrame", vendorFrame, map[string]any{}))
			kept, err := tab.Storage(within(t, 10*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Origin{elsewhere}, kept.Origins); diff != "" {
				t.Errorf("what still waits (-want +got):\n%s", diff)
			}
		})
	}
}

// What waits for a frame that never comes goes with its session.
func TestStorageOfNoFrameIsForgotten(t *testing.T) {
	t.Parallel()
	p := newPool(t, firstSite(t).options(t))
	r := firstRequest(false)
	r.Storage = &Storage{Origins: []Origin{{Origin: "https://" + widgetHost, Top: "https://example.test", Local: map[string]string{"c": "3"}}}}
	tab := open(t, p, r)
	closeTab(t, tab)
	next := open(t, p, firstRequest(false))
	if next.target != tab.target {
		t.Fatal("the tab is not used again")
	}
	compare(t, "the frame of the next session", sight{}, run[sight](t, next, "inFrame", vendorFrame, map[string]any{}))
}

func TestStorageIsBounded(t *testing.T) {
	t.Parallel()
	p := newPool(t, firstSite(t).options(t))
	tab := open(t, p, firstRequest(false))
	run[int](t, tab, "putAll", [][2]string{{"large", strings.Repeat("x", MaxStorage/2)}}, "plain=p; secure")
	got, err := tab.Storage(within(t, 10*time.Second))
	wantFault(t, err, fault.TooLarge)
	if len(got.Cookies) != 1 || got.Origins != nil {
		t.Errorf("beside the error there are %d cookies and %d origins", len(got.Cookies), len(got.Origins))
	}
	r := firstRequest(false)
	r.Storage = &Storage{Origins: []Origin{{Origin: "https://" + shopHost, Local: map[string]string{"large": strings.Repeat("x", MaxStorage+1)}}}}
	_, err = p.Open(within(t, 10*time.Second), r)
	wantFault(t, err, fault.TooLarge)
}

// A cookie that the browser refuses does not cost the others.
func TestBadCookiesAreLeftOut(t *testing.T) {
	t.Parallel()
	p := newPool(t, firstSite(t).options(t))
	r := firstRequest(false)
	good := Cookie{Name: "good", Value: "1", Domain: shopHost, Path: "/", Secure: true}
	r.Storage = &Storage{Cookies: []Cookie{
		{Name: "bad\n;", Value: "1", Domain: shopHost, Path: "/"},
		{Name: "__Host-bad", Value: "1", Domain: "." + shopHost, Path: "/"},
		{Name: "old", Value: "1", Domain: shopHost, Path: "/", Expires: time.Now().Add(-time.Hour)},
		good,
	}}
	tab := open(t, p, r)
	compare(t, "the page", sight{Cookie: "good=1"}, run[sight](t, tab, "atFirst"))
}
