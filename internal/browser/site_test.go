//go:build browser

package browser

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The hosts of the test site. All are served by one server.
const (
	shopHost   = "shop.example.test"
	widgetHost = "widget.vendor.test"
	otherHost  = "other.example.test"
)

// site is a TLS server for the test hosts, and what a pool needs to reach it.
type site struct {
	*httptest.Server
	spki string
}

func newSite(t testing.TB, h http.Handler) *site {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"*.test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(public)
	s := &site{httptest.NewUnstartedServer(h), base64.StdEncoding.EncodeToString(sum[:])}
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// options are those of a pool that reaches the site under all test hosts.
func (s *site) options(t testing.TB) Options {
	t.Helper()
	at := s.Listener.Addr().String()
	return Options{
		Dir:       scratch(t),
		Hosts:     []string{widgetHost},
		Resolve:   map[string]string{shopHost: at, widgetHost: at, otherHost: at},
		TrustSPKI: []string{s.spki},
	}
}

// scratch returns a folder that every user may pass.
func scratch(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// newPool returns a pool that was started.
func newPool(t *testing.T, o Options) *Pool {
	t.Helper()
	p, err := New(testLog(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closePool(t, p) })
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

func closePool(t *testing.T, p *Pool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Error(err)
	}
}

// testLog writes to the test's log, until the test has ended.
func testLog(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// within bounds one step of a test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// mainScript is a page runtime of the agreed shape: it echoes, waits, throws,
// and sends signals by an event with a secret name.
func mainScript(nonce string) string {
	return `(() => {
  if (window !== top) return;
  const say = CustomEvent, go = document.dispatchEvent, json = JSON;
  const emit = (v) => go.call(document, new say("` + nonce + `", { detail: json.stringify(v) }));
  const does = {
    echo: (a) => a,
    where: () => location.href,
    emit: (a) => { for (let i = 0; i < a; i++) emit({ name: "n", seq: i }); return a; },
    wait: () => new Promise(() => {}),
    loop: () => { for (;;) ; },
    fail: () => { throw { reason: "widget_failed", message: "it broke" }; },
    odd: () => { throw { reason: "no_such_reason", message: "?" }; },
    big: (n) => "x".repeat(n),
    run: (a) => globalThis[a.name](...(a.args ?? [])),
  };
  Object.defineProperty(globalThis, "__parley", { value: Object.freeze({
    async call(name, arg) {
      try {
        if (name === "notext") return { ok: true };
        if (name === "noanswer") return "{}";
        return json.stringify({ ok: true, value: await does[name](json.parse(arg)) });
      } catch (e) {
        return json.stringify({ ok: false, reason: e.reason ?? "widget_failed", message: String(e.message) });
      }
    },
  }) });
})();`
}

// lookScript is its part in the isolated world.
func lookScript(nonce string) string {
	return `(() => {
  if (window !== top) return;
  const emit = globalThis.__parleyEmit;
  document.addEventListener("` + nonce + `", (e) => emit(e.detail));
  Object.defineProperty(globalThis, "__parley", { value: Object.freeze({
    async call(name, arg) {
      return JSON.stringify({ ok: true, value: { title: document.title, page: typeof globalThis.pageGlobal, name } });
    },
  }) });
})();`
}

// lightRequest is a session on the shop with a light page of the body.
func lightRequest(body string) Request {
	nonce := rand.Text()
	return Request{
		URL:   "https://" + shopHost + "/",
		Light: "<!doctype html><title>light</title><script>var pageGlobal = 1</script>" + body,
		Main:  mainScript(nonce), Look: lookScript(nonce), Label: "test",
	}
}

// fullRequest is a session on the real page at the path of the shop.
func fullRequest(path string) Request {
	r := lightRequest("")
	r.URL, r.Light = "https://"+shopHost+path, ""
	return r
}

// open opens the page, and keeps a picture of it when the test fails.
func open(t *testing.T, p *Pool, r Request) *Tab {
	t.Helper()
	tab, err := p.Open(within(t, 30*time.Second), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if t.Failed() && tab.Err() == nil {
			if shot, err := tab.Screenshot(ctx); err == nil {
				_ = os.WriteFile(filepath.Join(t.ArtifactDir(), "tab.png"), shot, 0o600)
			}
		}
		if err := tab.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return tab
}

// ask calls the function and returns its answer.
func ask[T any](t *testing.T, tab *Tab, name string, arg any) T {
	t.Helper()
	var out T
	if err := tab.Call(within(t, 10*time.Second), name, arg, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// pages serves each path's HTML, for every host.
func pages(list map[string]string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		html, ok := list[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if strings.HasSuffix(r.URL.Path, ".js") {
			w.Header().Set("Content-Type", "text/javascript")
		}
		_, _ = fmt.Fprint(w, html)
	})
}
