//go:build browser

package browser

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

func TestOpenFails(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := newSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/never":
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case "/half":
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprint(w, "<title>half</title>", strings.Repeat("<p>text", 1000))
			_ = http.NewResponseController(w).Flush()
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case "/stuck":
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprint(w, `<script src="/never"></script>`)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/away":
			http.Redirect(w, r, "https://elsewhere.example.test/", http.StatusFound)
		case "/inside":
			http.Redirect(w, r, "http://127.0.0.1:8080/", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		case "/download":
			w.Header().Set("Content-Disposition", "attachment")
		case "/reset":
			if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_ = c.Close()
			}
		case "/broken":
			http.Error(w, "broken", http.StatusBadGateway)
		case "/":
			_, _ = fmt.Fprint(w, "<title>fine</title>")
		default:
			http.NotFound(w, r)
		}
	}))
	defer close(release)
	o := s.options(t)
	o.LoadTimeout = 3 * time.Second
	o.Resolve["refused.example.test"] = deadAddress(t)
	p := newPool(t, o)
	tests := []struct {
		url    string
		reason fault.Reason
	}{
		{"https://" + shopHost + "/never", fault.PageLoadFailed},
		{"https://" + shopHost + "/half", fault.PageLoadFailed},
		{"https://" + shopHost + "/stuck", fault.PageLoadFailed},
		{"https://" + shopHost + "/loop", fault.PageLoadFailed},
		{"https://" + shopHost + "/away", fault.EgressDenied},
		{"https://" + shopHost + "/inside", fault.EgressDenied},
		{"https://" + shopHost + "/file", fault.PageLoadFailed},
		{"https://" + shopHost + "/empty", fault.PageLoadFailed},
		{"https://" + shopHost + "/download", fault.PageLoadFailed},
		{"https://" + shopHost + "/reset", fault.PageLoadFailed},
		{"https://" + shopHost + "/broken", fault.PageLoadFailed},
		{"https://" + shopHost + "/missing", fault.PageLoadFailed},
		{"https://refused.example.test/", fault.PageLoadFailed},
		{"https://no-such-host.invalid/", fault.PageLoadFailed},
		{"https://127.0.0.1/", fault.EgressDenied},
		{"https://localhost/", fault.EgressDenied},
		{"http://" + shopHost + "/", fault.EgressDenied},
		{"file:///etc/passwd", fault.EgressDenied},
		{"chrome://version", fault.EgressDenied},
		{"javascript:alert(1)", fault.EgressDenied},
		{"data:text/html,hi", fault.EgressDenied},
		{"about:blank", fault.EgressDenied},
		{"https://user:secret@" + shopHost + "/", fault.EgressDenied},
		{"https:///", fault.EgressDenied},
		{"", fault.EgressDenied},
	}
	for _, test := range tests {
		r := fullRequest("/")
		r.URL = test.url
		begun := time.Now()
		tab, err := p.Open(within(t, 20*time.Second), r)
		if err == nil {
			t.Errorf("%s opened", test.url)
			_ = tab.Close(t.Context())
			continue
		}
		t.Logf("%s: %s: %v", test.url, time.Since(begun).Round(time.Millisecond), err)
		wantFault(t, err, test.reason)
		if strings.Contains(err.Error(), "secret") {
			t.Error("the error shows a password")
		}
	}
	tab := open(t, p, fullRequest("/"))
	if look := ask[map[string]string](t, tab, "look.at", nil); look["title"] != "fine" {
		t.Errorf("the page is %q", look["title"])
	}
	wantFault(t, tab.Navigate(within(t, 5*time.Second), "https://elsewhere.example.test/"), fault.EgressDenied)
	wantFault(t, tab.Navigate(within(t, 5*time.Second), "file:///etc/passwd"), fault.EgressDenied)
	wantFault(t, tab.Navigate(within(t, 5*time.Second), "https://"+shopHost+"/missing"), fault.PageLoadFailed)
	if err := tab.Navigate(within(t, 5*time.Second), "https://"+shopHost+"/"); err != nil {
		t.Errorf("the tab is of no use after a page that failed: %v", err)
	}
	if got := p.inUse(); got != 1 {
		t.Errorf("%d tabs are counted, want 1", got)
	}
}

// inUse returns how many places for tabs are taken.
func (p *Pool) inUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tabs
}

// deadAddress returns an address that refuses connections.
func deadAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestFullPageIsLoadedWithoutItsWeight(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 100)
	s := newSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Host + r.URL.Path
		switch r.URL.Path {
		case "/":
			_, _ = fmt.Fprintf(w, `<style>@font-face{font-family:f;src:url(/font.woff2)} body{font-family:f;background:url(/background.png)}</style>
<img src="/image.png"><img src="https://analytics.example.test/pixel.gif"><script src="https://analytics.example.test/a.js"></script>
<video src="/video.mp4" preload="auto" autoplay muted></video><audio src="/audio.mp3" preload="auto"></audio>
<script src="https://%s/widget.js"></script><p>text<script>var done = new Promise(d => addEventListener("load", () => d(1))); function loaded() { return done; }</script>`, widgetHost)
		case "/widget.js":
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = fmt.Fprint(w, "var widget = 1")
		default:
			http.NotFound(w, r)
		}
	}))
	p := newPool(t, s.options(t))
	tab := open(t, p, fullRequest("/"))
	ask[int](t, tab, "run", map[string]any{"name": "loaded"})
	got := map[string]bool{}
	for len(seen) > 0 {
		got[<-seen] = true
	}
	if !got[widgetHost+"/widget.js"] {
		t.Error("the vendor's script was not loaded")
	}
	for _, path := range []string{"/image.png", "/background.png", "/font.woff2", "/video.mp4", "/audio.mp3"} {
		if got[shopHost+path] {
			t.Errorf("%s was loaded", path)
		}
	}
	if got["analytics.example.test/pixel.gif"] || got["analytics.example.test/a.js"] {
		t.Error("the analytics were loaded")
	}
	if stats := tab.Stats(); stats.Refused == 0 {
		t.Errorf("no refused request was counted: %+v", stats)
	}
}
