package browser

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/fault"
)

func TestPublic(t *testing.T) {
	t.Parallel()
	tests := []struct {
		address string
		want    bool
	}{
		{"93.184.215.14", true},
		{"8.8.8.8", true},
		{"2606:2800:21f:cb07:6820:80da:af6b:8b2c", true},
		{"64:ff9b::808:808", true}, // NAT64 of 8.8.8.8
		{"::ffff:8.8.8.8", true},
		{"127.0.0.1", false},
		{"127.8.8.8", false},
		{"0.0.0.0", false},
		{"0.1.2.3", false},
		{"10.1.2.3", false},
		{"172.16.0.1", false},
		{"172.31.255.255", false},
		{"192.168.1.1", false},
		{"169.254.169.254", false},
		{"100.64.0.1", false},
		{"100.127.255.255", false},
		{"192.0.0.8", false},
		{"192.0.2.1", false},
		{"192.88.99.1", false},
		{"198.18.0.1", false},
		{"198.51.100.1", false},
		{"203.0.113.1", false},
		{"224.0.0.1", false},
		{"239.255.255.250", false},
		{"240.0.0.1", false},
		{"255.255.255.255", false},
		{"::", false},
		{"::1", false},
		{"::ffff:127.0.0.1", false},
		{"::ffff:10.0.0.1", false},
		{"::127.0.0.1", false},
		{"64:ff9b::7f00:1", false},
		{"64:ff9b::a9fe:a9fe", false},
		{"64:ff9b:1::808:808", false},
		{"2002:7f00:1::", false},
		{"2002:808:808::", false},
		{"2001::1", false},
		{"2001:db8::1", false},
		{"3fff::1", false},
		{"fc00::1", false},
		{"fd12:3456::1", false},
		{"fe80::1", false},
		{"fe80::1%eth0", false},
		{"fec0::1", false},
		{"ff02::1", false},
		{"100::1", false},
		{"4000::1", false},
	}
	for _, test := range tests {
		if got := public(netip.MustParseAddr(test.address)); got != test.want {
			t.Errorf("public(%s) = %t", test.address, got)
		}
	}
	if public(netip.Addr{}) {
		t.Error("no address is public")
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	tests := []struct {
		entry   string
		at      place
		allowed bool
	}{
		{"shop.test", place{"shop.test", "443", false}, true},
		{"Shop.TEST.", place{"shop.test", "443", false}, true},
		{"shop.test", place{"shop.test", "80", false}, false},
		{"shop.test", place{"shop.test", "80", true}, false},
		{"shop.test", place{"shop.test", "8443", false}, false},
		{"shop.test", place{"www.shop.test", "443", false}, false},
		{"shop.test", place{"evilshop.test", "443", false}, false},
		{"shop.test", place{"shop.test.evil.test", "443", false}, false},
		{"*.shop.test", place{"www.shop.test", "443", false}, true},
		{"*.shop.test", place{"a.b.shop.test", "443", false}, true},
		{"*.shop.test", place{"shop.test", "443", false}, false},
		{"*.shop.test", place{"evilshop.test", "443", false}, false},
		{"shop.test:8443", place{"shop.test", "8443", false}, true},
		{"shop.test:8443", place{"shop.test", "443", false}, false},
		{"http://shop.test", place{"shop.test", "80", true}, true},
		{"http://shop.test", place{"shop.test", "443", false}, true},
		{"http://shop.test", place{"shop.test", "8080", true}, false},
		{"http://shop.test:8080", place{"shop.test", "8080", true}, true},
		{"http://shop.test:8080", place{"shop.test", "80", true}, false},
	}
	for _, test := range tests {
		r, err := parseRule(test.entry)
		if err != nil {
			t.Fatal(test.entry, err)
		}
		if got := r.allows(test.at.host, test.at.port, test.at.plain); got != test.allowed {
			t.Errorf("%q allows %+v = %t", test.entry, test.at, got)
		}
	}
	for _, entry := range []string{"", "*.", "https://shop.test", "shop.test/", "shop test", "shop.test:0", "shop.test:https", "a..b", "*", "user@shop.test", ".shop.test"} {
		if r, err := parseRule(entry); err == nil {
			t.Errorf("the rule %q was read as %+v", entry, r)
		}
	}
}

// TestFormsOfAddresses has the forms that hide a loopback address from a check
// of the text.
func TestFormsOfAddresses(t *testing.T) {
	t.Parallel()
	hosts := []string{
		"127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "0.0.0.0", "0",
		"localhost", "LOCALHOST", "localhost.", "x.localhost", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]",
		"[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1]", "[fd00::1]", "127.0.0.1.", "169.254.169.254", "[::ffff:a9fe:a9fe]",
		"metadata.google.internal", "10.0.0.1", "192.168.0.1", "172.16.0.1", "100.64.0.1", "①②⑦.⓪.⓪.①", "127。0。0。1",
		"%31%32%37.0.0.1", "127.0.0.1%00.shop.test", "shop.test@127.0.0.1", "127.0.0.1#shop.test", "shop.test\\@127.0.0.1",
	}
	e, err := newEgress(slog.New(slog.DiscardHandler), Options{Hosts: []string{"shop.test"}})
	if err != nil {
		t.Fatal(err)
	}
	p := &Pool{egress: e}
	tried := 0
	for _, host := range hosts {
		for _, form := range []string{"https://%s/", "http://%s/", "https://%s:8443/", "https:%s", "//%s/", "ws://%s/", "ftp://%s/", "https://shop.test@%s/"} {
			address := fmt.Sprintf(form, host)
			if _, err := p.plan(Request{URL: address}); err == nil {
				// The host is the page's own: then its address is checked.
				u, at, err := parsePlace(address)
				if err != nil {
					t.Fatal(err)
				}
				if c, err := e.dial(t.Context(), "tcp", at.host, at.port); err == nil {
					_ = c.Close()
					t.Errorf("%s reached %s", u, c.RemoteAddr())
				}
			}
			tried++
		}
	}
	t.Logf("%d addresses tried", tried)
}

// TestRebinding has a resolver that answers with a public address first, and
// with a loopback address whenever it is asked again.
func TestRebinding(t *testing.T) {
	t.Parallel()
	canary, hits := newCanary(t)
	_, port, _ := net.SplitHostPort(canary)
	e, err := newEgress(slog.New(slog.DiscardHandler), Options{})
	if err != nil {
		t.Fatal(err)
	}
	answers := [][]string{
		{"127.0.0.1"},
		{"192.0.2.1", "127.0.0.1"},
		{"8.8.8.8", "127.0.0.1"}, // one bad address refuses the name
		{"::ffff:127.0.0.1"},
		{"64:ff9b::7f00:1"},
		{"0.0.0.0"},
		{"::"},
		{},
	}
	var asked atomic.Int64
	e.lookup = func(context.Context, string) ([]netip.Addr, error) {
		var list []netip.Addr
		for _, a := range answers[(asked.Add(1)-1)%int64(len(answers))] {
			list = append(list, netip.MustParseAddr(a))
		}
		return list, nil
	}
	const rounds = 200
	for range rounds {
		before := asked.Load()
		c, err := e.dial(t.Context(), "tcp", "rebind.test", port)
		if err == nil {
			_ = c.Close()
			t.Fatal("a connection was made")
		}
		if got := asked.Load() - before; got != 1 {
			t.Fatalf("the name was resolved %d times for one connection", got)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d of %d connections reached the canary", n, rounds)
	}
}

// newCanary listens on loopback, and counts who comes, one after another.
func newCanary(t *testing.T) (address string, hits *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hits = &atomic.Int64{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			hits.Add(1)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String(), hits
}

// newOutlet returns an outlet that our own user may use.
func newOutlet(t *testing.T, o Options) *outlet {
	t.Helper()
	e, err := newEgress(slog.New(slog.DiscardHandler), o)
	if err != nil {
		t.Fatal(err)
	}
	e.uid.Store(int64(os.Getuid()))
	out, err := e.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		out.close()
		e.close()
	})
	return out
}

// ask sends raw bytes to the outlet, and returns the status line.
func statusOf(t *testing.T, o *outlet, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", o.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return ""
	}
	_, status, _ := strings.Cut(strings.TrimSpace(line), " ")
	return status
}

func TestProxyAnswers(t *testing.T) {
	t.Parallel()
	canary, hits := newCanary(t)
	_, port, _ := net.SplitHostPort(canary)
	o := newOutlet(t, Options{
		Hosts:   []string{"vendor.test"},
		Resolve: map[string]string{"shop.test": canary, "plain.test": canary},
	})
	deny := statusOf(t, o, "CONNECT vendor.test:443 HTTP/1.1\r\nHost: vendor.test\r\n\r\n")
	rules, err := parseRules([]string{"shop.test", "http://plain.test", "localhost:" + port, "127.0.0.1:" + port})
	if err != nil {
		t.Fatal(err)
	}
	o.allow(rules)
	got := map[string]string{"before any host was allowed": deny}
	for name, request := range map[string]string{
		"allowed":         "CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test\r\n\r\n",
		"other host":      "CONNECT other.test:443 HTTP/1.1\r\nHost: other.test\r\n\r\n",
		"other port":      "CONNECT shop.test:22 HTTP/1.1\r\nHost: shop.test\r\n\r\n",
		"listed loopback": "CONNECT localhost:" + port + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"listed address":  "CONNECT 127.0.0.1:" + port + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"plain http":      "GET http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n",
		"host differs":    "GET http://other.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n",
		"other scheme":    "GET ftp://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n",
		"no proxy form":   "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n",
		"no port":         "CONNECT shop.test HTTP/1.1\r\nHost: shop.test\r\n\r\n",
		"rubbish":         "\x16\x03\x01\x00\r\n\r\n",
	} {
		got[name] = statusOf(t, o, request)
	}
	want := map[string]string{
		"before any host was allowed": "403 Forbidden",
		"allowed":                     "200 Connection established",
		"other host":                  "403 Forbidden",
		"other port":                  "403 Forbidden",
		"listed loopback":             "403 Forbidden",
		"listed address":              "403 Forbidden",
		"plain http":                  "403 Forbidden",
		"host differs":                "403 Forbidden",
		"other scheme":                "403 Forbidden",
		"no proxy form":               "403 Forbidden",
		"no port":                     "502 Bad Gateway",
		"rubbish":                     "400 Bad Request",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	// The canary takes its connections in order: with ours it has counted all.
	last, err := net.Dial("tcp", canary)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, last)
	_ = last.Close()
	if n := hits.Load(); n != 2 {
		t.Errorf("%d connections reached the canary, want ours and the one that is allowed", n)
	}
}

func TestProxyForwardsPlainHTTP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Forwarded-For") != "" {
			t.Error("the proxy tells who asks")
		}
		_, _ = fmt.Fprintf(w, "%s %s", r.Host, r.URL)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	o := newOutlet(t, Options{Resolve: map[string]string{"plain.test": l.Addr().String()}})
	o.allow([]rule{{host: "plain.test", http: true}})
	c, err := net.Dial("tcp", o.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "GET http://plain.test/path?q=1 HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, _ := io.ReadAll(answer.Body)
	if got, want := string(body), "plain.test /path?q=1"; got != want {
		t.Errorf("the site saw %q, want %q", got, want)
	}
}

// TestUnreadAnswerIsSeen has a client that does not read what the tunnel brings.
func TestUnreadAnswerIsSeen(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	o := newOutlet(t, Options{Resolve: map[string]string{"shop.test": l.Addr().String()}})
	o.allow([]rule{{host: "shop.test"}})
	client, err := net.Dial("tcp", o.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	_, _ = io.WriteString(client, "CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test\r\n\r\n")
	head := bufio.NewReaderSize(client, 16)
	for line := " "; line != "\r\n"; {
		if line, err = head.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	_, _ = server.Write(make([]byte, 100))
	if _, err := io.ReadFull(client, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cut := o.cut()
	if len(cut.tunnels) != 1 {
		t.Fatalf("%d tunnels were cut, want 1", len(cut.tunnels))
	}
	if err := cut.drained(t.Context()); !errors.Is(err, errUnclean) {
		t.Errorf("with an unread answer drained returned %v", err)
	}
	_, _ = io.Copy(io.Discard, client)
	if err := cut.drained(t.Context()); err != nil {
		t.Error(err)
	}
	_ = client.Close()
	if err := cut.drained(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestProxyServesOneUserOnly(t *testing.T) {
	t.Parallel()
	o := newOutlet(t, Options{})
	o.egress.uid.Store(int64(os.Getuid()) + 1)
	if got := statusOf(t, o, "CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test\r\n\r\n"); got != "" {
		t.Errorf("a foreign user was answered %q", got)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{
		{Hosts: []string{"https://shop.test"}},
		{Resolve: map[string]string{"shop.test": "93.184.215.14:443"}},
		{Resolve: map[string]string{"shop.test": "127.0.0.1"}},
		{Resolve: map[string]string{"": "127.0.0.1:1"}},
	} {
		if _, err := New(slog.New(slog.DiscardHandler), o); !errors.Is(err, fault.New(fault.BadConfig, "")) {
			t.Errorf("New(%+v) returned %v", o, err)
		}
	}
}
