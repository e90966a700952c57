//go:build browser

package browser

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// stores are the places where one visitor could find what another has left.
// plant puts the marker into each; look returns what each shows.
const storesPage = `<body><script>
const later = [];
for (const type of ["pagehide", "unload", "visibilitychange"]) addEventListener(type, () => { for (const job of later) job(); });
addEventListener("beforeunload", (e) => { if (later.length) e.preventDefault(); });
const open = () => new Promise((done, fail) => {
  const r = indexedDB.open("db", 1);
  r.onupgradeneeded = () => r.result.createObjectStore("s");
  r.onsuccess = () => done(r.result); r.onerror = () => fail(r.error);
});
const tx = async (mode, f) => { const db = await open(); return new Promise((done, fail) => {
  const r = f(db.transaction("s", mode).objectStore("s")); r.onsuccess = () => { db.close(); done(r.result); }; r.onerror = () => fail(r.error);
}); };
const frame = new Promise((done) => {
  const f = document.createElement("iframe"); f.src = "https://widget.vendor.test/frame";
  f.onload = () => done(f.contentWindow); document.body.append(f);
});
const inFrame = async (job) => { const w = await frame; return new Promise((done) => {
  const c = new MessageChannel(); c.port1.onmessage = (e) => done(e.data); w.postMessage(job, "*", [c.port2]);
}); };
const heard = new BroadcastChannel("c"); let voice = "";
heard.onmessage = (e) => { voice = e.data; };
const shared = () => new Promise((done) => {
  const w = new SharedWorker("/shared.js"); w.port.onmessage = (e) => done(e.data); w.port.postMessage("get");
});
const who = () => new Promise((done) => { const s = document.createElement("script"); s.src = "/who.js"; s.onload = () => done(String(globalThis.who)); document.body.append(s); });
function otherFrame(job) { return new Promise((done) => {
  const f = document.createElement("iframe"); f.src = "https://other.example.test/frame";
  f.onload = () => { const c = new MessageChannel(); c.port1.onmessage = (e) => { f.remove(); done(e.data); }; f.contentWindow.postMessage(job, "*", [c.port2]); };
  document.body.append(f);
}); }
function forgetLater() { later.length = 0; return 1; }
// plantWorkers puts the marker where workers keep it alive.
async function plantWorkers(m) {
  await navigator.serviceWorker.register("/sw.js");
  const w = new SharedWorker("/shared.js"); w.port.postMessage("set:" + m);
  return 1;
}
async function plant(m) {
  later.push(() => {
    document.cookie = "late=" + m + "; secure; max-age=9999";
    localStorage.setItem("late", m); sessionStorage.setItem("late", m);
    const r = indexedDB.open("late", 1); r.onupgradeneeded = () => r.result.createObjectStore("s");
    caches.open("late").then((c) => c.put("/late", new Response(m)));
    navigator.sendBeacon("/set?late-" + m); fetch("/set?late-" + m, { keepalive: true });
  });
  document.cookie = "plain=" + m + "; secure; max-age=9999";
  await fetch("/set?" + m);
  localStorage.setItem("m", m); sessionStorage.setItem("m", m);
  await tx("readwrite", (s) => s.put(m, "m"));
  await (await caches.open("c")).put("/cache-entry", new Response(m));
  const dir = await navigator.storage.getDirectory();
  const file = await (await dir.getFileHandle("f", { create: true })).createWritable(); await file.write(m); await file.close();
  await (await fetch("/cached?" + 1)).text();
  await fetch("/planted?" + await who());
  window.name = m;
  history.pushState({ m }, "", "/pushed");
  navigator.locks.request("lock", () => new Promise(() => {}));
  new BroadcastChannel("c").postMessage(m);
  await inFrame("plant:" + m);
  return Object.keys(await look()).length;
}
async function look(withShared, withOther) {
  const out = {};
  const get = async (name, f) => { try { out[name] = String(await f() ?? ""); } catch (e) { out[name] = ""; } };
  await get("cookie", () => document.cookie);
  await get("httponly", async () => (await fetch("/echo")).text());
  await get("localStorage", () => Object.entries(localStorage));
  await get("sessionStorage", () => Object.entries(sessionStorage));
  await get("databases", async () => (await indexedDB.databases()).map((d) => d.name));
  await get("indexedDB", () => tx("readonly", (s) => s.get("m")));
  await get("cacheNames", () => caches.keys());
  await get("caches", async () => { const r = await caches.match("/cache-entry"); return r ? r.text() : ""; });
  await get("opfs", async () => (await (await (await navigator.storage.getDirectory()).getFileHandle("f")).getFile()).text());
  await get("serviceWorker", async () => (await navigator.serviceWorker.getRegistrations()).map((r) => r.scope).join());
  await get("httpCache", async () => { const r = await fetch("/cached?" + 1, { cache: "only-if-cached", mode: "same-origin" }); return r.ok ? r.text() : ""; });
  await get("windowName", () => window.name);
  await get("history", () => history.state?.m);
  await get("lock", () => new Promise((done) => navigator.locks.request("lock", { ifAvailable: true }, (l) => done(l ? "" : "held"))));
  if (withShared) await get("sharedWorker", shared);
  if (withOther) await get("otherFrame", () => otherFrame("look"));
  await get("memoryCache", async () => (await who()) === (await (await fetch("/planted", { cache: "no-store" })).text()) ? "the same copy" : "");
  await get("broadcast", () => voice);
  await get("frameStorage", () => inFrame("look"));
  return out;
}
</script>`

// storesSite serves what the page of the stores needs.
func storesSite(t *testing.T) *site {
	t.Helper()
	var count atomic.Int64
	var planted atomic.Value
	return newSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/set":
			http.SetCookie(w, &http.Cookie{Name: "hidden", Value: r.URL.RawQuery, HttpOnly: true, Secure: true, MaxAge: 9999})
		case "/echo":
			if c, err := r.Cookie("hidden"); err == nil {
				_, _ = fmt.Fprint(w, c.Value)
			}
		case "/who.js":
			w.Header().Set("Content-Type", "text/javascript")
			w.Header().Set("Cache-Control", "max-age=9999")
			_, _ = fmt.Fprintf(w, "globalThis.who = %d", count.Add(1))
		case "/planted":
			if r.URL.RawQuery != "" {
				planted.Store(r.URL.RawQuery)
			}
			_, _ = fmt.Fprint(w, planted.Load())
		case "/cached":
			w.Header().Set("Cache-Control", "max-age=9999, immutable")
			_, _ = fmt.Fprint(w, "copy ", count.Add(1))
		case "/sw.js":
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = fmt.Fprint(w, "// a service worker")
		case "/shared.js":
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = fmt.Fprint(w, `let kept = ""; onconnect = (e) => { const p = e.ports[0]; p.onmessage = (m) => { if (m.data === "get") p.postMessage(kept); else kept = m.data; }; };`)
		case "/frame":
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprint(w, `<script>onmessage = (e) => {
  const m = String(e.data);
  if (m.startsWith("plant:")) { localStorage.setItem("m", m); sessionStorage.setItem("m", m); document.cookie = "framed=" + m + "; secure; samesite=none; partitioned; max-age=9999"; }
  e.ports[0].postMessage((localStorage.getItem("m") ?? "") + (sessionStorage.getItem("m") ?? "") + document.cookie);
};</script>`)
		case "/":
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprint(w, "<!doctype html><title>stores</title>", storesPage)
		default:
			http.NotFound(w, r)
		}
	}))
}

// lookAround returns what the tab sees in each store.
func lookAround(t *testing.T, tab *Tab) map[string]string {
	t.Helper()
	return ask[map[string]string](t, tab, "run", map[string]any{"name": "look", "args": []bool{false, false}})
}

// TestSessionsShareNothing plants markers in each store, and looks for them in
// a session beside it and in one after it: with contexts of their own, with
// contexts that are used again, and with workers that forbid that.
func TestSessionsShareNothing(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name           string
		fresh, workers bool
		full           bool
		lost           bool // a frame is gone when the session ends
		again, tab     bool // the context, and the tab, is used again
		rounds         int
	}{
		{name: "fresh", fresh: true, workers: true, rounds: 10},
		{name: "with workers", workers: true, rounds: 10},
		{name: "used again", again: true, tab: true, rounds: 50},
		{name: "full page", full: true, again: true, tab: true, rounds: 25},
		{name: "full page without a frame", full: true, lost: true, rounds: 10},
		{name: "used again with a new tab", lost: true, again: true, rounds: 25},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := storesSite(t).options(t)
			o.Fresh = test.fresh
			p := newPool(t, o)
			leaks, tried := 0, 0
			for i := range test.rounds {
				marker := fmt.Sprintf("marker-%d", i)
				r := storesRequest(test.full)
				r.Hosts = []string{otherHost}
				planter := open(t, p, r)
				ask[int](t, planter, "run", map[string]any{"name": "plant", "args": []string{marker}})
				if test.workers {
					ask[int](t, planter, "run", map[string]any{"name": "plantWorkers", "args": []string{marker}})
				}
				if test.lost {
					ask[string](t, planter, "run", map[string]any{"name": "otherFrame", "args": []string{"plant:" + marker}})
				}
				if i == 0 {
					mustKeep(t, planter, test.workers, test.lost)
				}
				beside := open(t, p, storesRequest(test.full))
				seen := []map[string]string{lookAround(t, beside)}
				closeTab(t, planter)
				r.Main, r.Look = lightRequest("").Main, lightRequest("").Look
				after := open(t, p, r)
				if again := after.room == planter.room; again != test.again {
					t.Fatalf("the context is used again: %t, want %t", again, test.again)
				}
				if again := after.target == planter.target; again != test.tab {
					t.Fatalf("the tab is used again: %t, want %t", again, test.tab)
				}
				looked := ask[map[string]string](t, after, "run", map[string]any{"name": "look", "args": []bool{test.workers, test.lost}})
				for _, stores := range append(seen, looked) {
					for store, value := range stores {
						tried++
						if value != "" {
							leaks++
							t.Errorf("round %d: the store %s shows %q", i, store, value)
						}
					}
				}
				closeTab(t, beside)
				closeTab(t, after)
			}
			t.Logf("%d of %d looks found something", leaks, tried)
		})
	}
}

func storesRequest(whole bool) Request {
	if whole {
		return fullRequest("/")
	}
	return lightRequest(storesPage)
}

// mustKeep fails unless each store keeps its marker: else the test is worth
// nothing.
func mustKeep(t *testing.T, planter *Tab, workers, lost bool) {
	t.Helper()
	for store, value := range ask[map[string]string](t, planter, "run", map[string]any{"name": "look", "args": []bool{workers, lost}}) {
		if value == "" && store != "broadcast" && (workers || store != "serviceWorker") {
			t.Errorf("the store %s kept nothing", store)
		}
	}
}

func closeTab(t *testing.T, tab *Tab) {
	t.Helper()
	if err := tab.Close(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
}

func TestClearOrigin(t *testing.T) {
	t.Parallel()
	p := newPool(t, storesSite(t).options(t))
	tab := open(t, p, lightRequest(storesPage))
	ask[int](t, tab, "run", map[string]any{"name": "plant", "args": []string{"old"}})
	ask[int](t, tab, "run", map[string]any{"name": "forgetLater"})
	for _, host := range []string{shopHost, widgetHost} {
		if err := tab.ClearOrigin(within(t, 10*time.Second), "https://"+host); err != nil {
			t.Fatal(err)
		}
	}
	if err := tab.Navigate(within(t, 10*time.Second), "https://"+shopHost+"/"); err != nil {
		t.Fatal(err)
	}
	// These belong to the tab or to the network, and not to the origin.
	kept := map[string]bool{"windowName": true, "httpCache": true, "history": true, "memoryCache": true}
	for store, value := range lookAround(t, tab) {
		if value != "" && !kept[store] {
			t.Errorf("after the clearing the store %s shows %q", store, value)
		}
	}
}

func TestOpenPageSharesTheSession(t *testing.T) {
	t.Parallel()
	p := newPool(t, storesSite(t).options(t))
	tab := open(t, p, lightRequest(storesPage))
	ask[int](t, tab, "run", map[string]any{"name": "plant", "args": []string{"mine"}})
	page, err := tab.OpenPage(within(t, 10*time.Second), lightRequest(storesPage))
	if err != nil {
		t.Fatal(err)
	}
	if got := lookAround(t, page); !strings.Contains(got["localStorage"], "mine") || got["httponly"] != "mine" {
		t.Errorf("the further page sees %v", got)
	}
	closeTab(t, page)
	<-page.Done()
	if got := lookAround(t, tab); !strings.Contains(got["localStorage"], "mine") {
		t.Errorf("the first page sees %v", got)
	}
	second, err := tab.OpenPage(within(t, 10*time.Second), lightRequest(""))
	if err != nil {
		t.Fatal(err)
	}
	closeTab(t, tab)
	<-second.Done()
	if got := p.inUse(); got != 0 {
		t.Errorf("%d tabs are counted", got)
	}
}
