//go:build browser

package browser

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// A vector is one way of a hostile page to a server on our own machine. In
// code, AT stands for host and port of the canary, and VIA for the address of
// a server on the page's own host.
type vector struct{ name, html, script string }

// addressForms are the forms of loopback addresses. PORT is the canary's.
var addressForms = []string{
	"127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "localhost", "x.localhost",
	"[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "127.0.0.1.", "rebind.example.test",
}

func vectors() []vector {
	list := []vector{
		{"img", `<img src="http://AT/img">`, ""},
		{"script", `<script src="http://AT/script"></script>`, ""},
		{"iframe", `<iframe src="http://AT/iframe"></iframe>`, ""},
		{"stylesheet", `<link rel=stylesheet href="http://AT/stylesheet">`, ""},
		{"prefetch", `<link rel=prefetch href="http://AT/prefetch">`, ""},
		{"preload", `<link rel=preload as=fetch href="http://AT/preload">`, ""},
		{"preconnect", `<link rel=preconnect href="http://AT/">`, ""},
		{"object", `<object data="http://AT/object"></object>`, ""},
		{"embed", `<embed src="http://AT/embed">`, ""},
		{"video", `<video src="http://AT/video" preload=auto autoplay muted></video>`, ""},
		{"audio", `<audio src="http://AT/audio" preload=auto></audio>`, ""},
		{"import", `<style>@import "http://AT/import";</style>`, ""},
		{"font", `<style>@font-face{font-family:f;src:url(http://AT/font)} b{font-family:f}</style><b>x</b>`, ""},
		{"background", `<style>i{background:url(http://AT/background);display:block;height:9px}</style><i></i>`, ""},
		{"xhr", "", `const x = new XMLHttpRequest(); x.open("GET", "http://AT/xhr"); x.send()`},
		{"beacon", "", `navigator.sendBeacon("http://AT/beacon", "x")`},
		{"eventsource", "", `new EventSource("http://AT/eventsource")`},
		{"websocket", "", `new WebSocket("ws://AT/websocket")`},
		{"webtransport", "", `new WebTransport("https://AT/webtransport")`},
		{"dynamicimport", "", `import("http://AT/dynamicimport").catch(() => {})`},
		{"worker", "", `new Worker(URL.createObjectURL(new Blob(['fetch("http://AT/worker").catch(() => {}); try { importScripts("http://AT/worker2") } catch {}'])))`},
		{"fetchpost", "", `fetch("http://AT/fetchpost", { method: "POST", mode: "no-cors", body: "x" }).catch(() => {})`},
		{"redirectframe", `<iframe src="VIA/redirect?frame"></iframe>`, ""},
		{"redirectimg", `<img src="VIA/redirect?img">`, ""},
		{"metarefresh", `<iframe srcdoc='<meta http-equiv=refresh content="0;url=http://AT/metarefresh">'></iframe>`, ""},
		{"formpost", `<iframe name=target></iframe><form id=f method=post target=target action="http://AT/formpost"><input name=a></form>`, `document.getElementById("f").submit()`},
		{"windowopen", "", `window.open("http://AT/windowopen")`},
		{"stun", "", `const p = new RTCPeerConnection({ iceServers: [{ urls: "stun:AT" }, { urls: "turn:AT?transport=tcp", username: "u", credential: "c" }] });
p.createDataChannel("c"); p.createOffer().then((o) => p.setLocalDescription(o))`},
		{"userinfo", `<img src="http://` + shopHost + `@AT/userinfo">`, ""},
		{"fileframe", `<iframe src="file:///etc/passwd" id=ff></iframe>`, ""},
		{"filefetch", "", `fetch("file:///etc/passwd").then((r) => r.text()).then((t) => fetch("VIA/leak?file"), () => {})`},
	}
	for _, form := range addressForms {
		list = append(list, vector{"form " + form, "", fmt.Sprintf(`fetch("http://%s:PORT/form", { mode: "no-cors" }).catch(() => {})`, form)})
	}
	// The last one takes the page away.
	return append(list, vector{"toplevel", "", `setTimeout(() => { location.href = "http://AT/toplevel" }, 1500)`})
}

// canaries listen on loopback, by TCP and UDP, and keep what reaches them.
type canaries struct {
	port string
	mu   sync.Mutex
	seen []string
}

func newCanaries(t *testing.T) *canaries {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &canaries{}
	_, c.port, _ = net.SplitHostPort(l.Addr().String())
	server := &http.Server{
		Handler:     http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { c.note(r.Host + r.URL.Path) }),
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context { c.note("a connection"); return ctx },
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	if six, err := net.Listen("tcp6", "[::1]:"+c.port); err == nil {
		serving.Go(func() { _ = server.Serve(six) })
	}
	udp, err := net.ListenPacket("udp4", "127.0.0.1:"+c.port)
	if err != nil {
		t.Fatal(err)
	}
	serving.Go(func() {
		buf := make([]byte, 1500)
		for {
			if _, _, err := udp.ReadFrom(buf); err != nil {
				return
			}
			c.note("a datagram")
		}
	})
	t.Cleanup(func() {
		_ = server.Close()
		_ = udp.Close()
		serving.Wait()
	})
	return c
}

func (c *canaries) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, what)
}

func (c *canaries) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.seen
	c.seen = nil
	return seen
}

// TestHostilePageReachesNothing lets a hostile page try every vector: from a
// page over http and one over https, light and whole, with the loopback
// addresses on the list of hosts and without.
func TestHostilePageReachesNothing(t *testing.T) {
	t.Parallel()
	canary := newCanaries(t)
	fill := func(text, via string) string {
		return strings.NewReplacer("AT", "127.0.0.1:"+canary.port, "PORT", canary.port, "VIA", via).Replace(text)
	}
	var script, html strings.Builder
	for _, v := range vectors() {
		html.WriteString(v.html)
		fmt.Fprintf(&script, "try { %s } catch {}\n", v.script)
	}
	page := func(scheme string) string {
		return fill("<title>hostile</title><body>"+html.String()+"<script type=module>"+script.String()+"</script>", scheme+"://"+shopHost)
	}
	leaked := make(chan string, 10)
	site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "http://127.0.0.1:"+canary.port+"/redirect", http.StatusFound)
		case "/leak":
			leaked <- r.URL.RawQuery
		case "/secure":
			_, _ = fmt.Fprint(w, page("https"))
		default:
			_, _ = fmt.Fprint(w, page("http"))
		}
	})
	s := newSite(t, site)
	plain := newPlainSite(t, site)
	o := s.options(t)
	o.Images = true // or the vectors by images would not be tried
	o.Resolve["plain.example.test"] = plain
	o.Resolve["canary.example.test"] = "127.0.0.1:" + canary.port
	p := newPool(t, o)
	p.egress.lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}

	// The control: the canary sees what is let through.
	control := lightRequest(`<body><img src="http://canary.example.test:` + canary.port + `/control">`)
	control.URL, control.Hosts = "http://plain.example.test/", []string{"http://plain.example.test", "http://canary.example.test:" + canary.port}
	open(t, p, control)
	for begun := time.Now(); len(canary.take()) == 0; {
		if time.Since(begun) > 10*time.Second {
			t.Fatal("the canary sees nothing at all")
		}
	}

	listed := []string{"http://plain.example.test"}
	for _, form := range addressForms {
		listed = append(listed, "http://"+form+":"+canary.port)
	}
	requests := map[string]Request{}
	for name, hosts := range map[string][]string{"unlisted": listed[:1], "listed": valid(listed)} {
		for kind, r := range map[string]Request{
			"light https": {URL: "https://" + shopHost + "/", Light: page("https")},
			"light http":  {URL: "http://plain.example.test/", Light: page("http")},
			"full https":  {URL: "https://" + shopHost + "/secure"},
			"full http":   {URL: "http://plain.example.test/"},
		} {
			r.Hosts = hosts
			base := lightRequest("")
			r.Main, r.Look = base.Main, base.Look
			requests[name+" "+kind] = r
		}
	}
	tabs := map[string]*Tab{}
	for name, r := range requests {
		tab, err := p.Open(within(t, 30*time.Second), r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		tabs[name] = tab
	}
	<-time.After(3 * time.Second) // "toplevel" leaves after 1.5 s
	for name, tab := range tabs {
		stats := tab.Stats()
		closeTab(t, tab)
		if stats.Refused == 0 {
			t.Errorf("%s: the proxy refused nothing", name)
		}
		t.Logf("%s: %d vectors tried, %d requests refused, %d popups", name, len(vectors()), stats.Refused, stats.Popups)
	}
	if seen := canary.take(); len(seen) > 0 {
		t.Errorf("the canary was reached: %v", seen)
	}
	select {
	case what := <-leaked:
		t.Errorf("the page has read %s", what)
	default:
	}
}

// valid leaves out what is no host name.
func valid(entries []string) []string {
	var list []string
	for _, entry := range entries {
		if _, err := parseRule(entry); err == nil {
			list = append(list, entry)
		}
	}
	return list
}

// newPlainSite serves the handler over plain http.
func newPlainSite(t *testing.T, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return l.Addr().String()
}
