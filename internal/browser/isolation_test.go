//go:build browser

package browser

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// stores are the places where one visitor could find what another has left.
// plant puts the marker into each; look returns what each shows.
const storesPage = `<body><script>
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
async function plant(m) {
  document.cookie = "plain=" + m + "; secure; max-age=9999";
  await fetch("/set?" + m);
  localStorage.setItem("m", m); sessionStorage.setItem("m", m);
  await tx("readwrite", (s) => s.put(m, "m"));
  await (await caches.open("c")).put("/cache-entry", new Response(m));
  const dir = await navigator.storage.getDirectory();
  const file = await (await dir.getFileHandle("f", { create: true })).createWritable(); await file.write(m); await file.close();
  await navigator.serviceWorker.register("/sw.js");
  await (await fetch("/cached?" + 1)).text();
  window.name = m;
  history.pushState({ m }, "", "/pushed");
  navigator.locks.request("lock", () => new Promise(() => {}));
  const w = new SharedWorker("/shared.js"); w.port.postMessage("set:" + m);
  new BroadcastChannel("c").postMessage(m);
  await inFrame("plant:" + m);
  return Object.keys(await look()).length;
}
async function look() {
  const out = {};
  const get = async (name, f) => { try { out[name] = String(await f() ?? ""); } catch (e) { out[name] = ""; } };
  await get("cookie", () => document.cookie);
  await get("httponly", async () => (await fetch("/echo")).text());
  await get("localStorage", () => localStorage.getItem("m"));
  await get("sessionStorage", () => sessionStorage.getItem("m"));
  await get("indexedDB", () => tx("readonly", (s) => s.get("m")));
  await get("caches", async () => { const r = await caches.match("/cache-entry"); return r ? r.text() : ""; });
  await get("opfs", async () => (await (await (await navigator.storage.getDirectory()).getFileHandle("f")).getFile()).text());
  await get("serviceWorker", async () => (await navigator.serviceWorker.getRegistrations()).map((r) => r.scope).join());
  await get("httpCache", async () => { const r = await fetch("/cached?" + 1, { cache: "only-if-cached", mode: "same-origin" }); return r.ok ? r.text() : ""; });
  await get("windowName", () => window.name);
  await get("history", () => history.state?.m);
  await get("lock", () => new Promise((done) => navigator.locks.request("lock", { ifAvailable: true }, (l) => done(l ? "" : "held"))));
  await get("sharedWorker", shared);
  await get("broadcast", () => voice);
  await get("frameStorage", () => inFrame("look"));
  return out;
}
</script>`

// storesSite serves what the page of the stores needs.
func storesSite(t *testing.T) *site {
	t.Helper()
	var count atomic.Int64
	return newSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/set":
			http.SetCookie(w, &http.Cookie{Name: "hidden", Value: r.URL.RawQuery, HttpOnly: true, Secure: true, MaxAge: 9999})
		case "/echo":
			if c, err := r.Cookie("hidden"); err == nil {
				_, _ = fmt.Fprint(w, c.Value)
			}
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
  if (m.startsWith("plant:")) { localStorage.setItem("m", m); document.cookie = "framed=" + m + "; secure; samesite=none; partitioned; max-age=9999"; }
  e.ports[0].postMessage((localStorage.getItem("m") ?? "") + document.cookie);
};</script>`)
		default:
			http.NotFound(w, r)
		}
	}))
}

// lookAround returns what the tab sees in each store.
func lookAround(t *testing.T, tab *Tab) map[string]string {
	t.Helper()
	return ask[map[string]string](t, tab, "run", map[string]any{"name": "look"})
}

func TestSessionsShareNothing(t *testing.T) {
	t.Parallel()
	p := newPool(t, storesSite(t).options(t))
	const rounds = 50
	leaks, tried := 0, 0
	for i := range rounds {
		marker := fmt.Sprintf("marker-%d", i)
		planter := open(t, p, lightRequest(storesPage))
		ask[int](t, planter, "run", map[string]any{"name": "plant", "args": []string{marker}})
		if i == 0 {
			// The test is worth something only if each store keeps its marker.
			for store, value := range lookAround(t, planter) {
				if value == "" && store != "broadcast" {
					t.Errorf("the store %s kept nothing", store)
				}
			}
		}
		beside := open(t, p, lightRequest(storesPage))
		seen := []map[string]string{lookAround(t, beside)}
		closeTab(t, planter)
		after := open(t, p, lightRequest(storesPage))
		seen = append(seen, lookAround(t, after))
		for _, stores := range seen {
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
	for _, host := range []string{shopHost, widgetHost} {
		if err := tab.ClearOrigin(within(t, 10*time.Second), "https://"+host); err != nil {
			t.Fatal(err)
		}
	}
	if err := tab.Navigate(within(t, 10*time.Second), "https://"+shopHost+"/"); err != nil {
		t.Fatal(err)
	}
	// These belong to the tab or to the network, and not to the origin.
	kept := map[string]bool{"windowName": true, "httpCache": true, "history": true}
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
	if got := lookAround(t, page); got["localStorage"] != "mine" || got["httponly"] != "mine" {
		t.Errorf("the further page sees %v", got)
	}
	closeTab(t, page)
	<-page.Done()
	if got := lookAround(t, tab); got["localStorage"] != "mine" {
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
