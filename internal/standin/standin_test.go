package standin_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/standin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServerRoutesByHost(t *testing.T) {
	t.Parallel()
	s := start(t, map[string]http.Handler{
		"one.example.test": say("one"),
		"two.example.test": say("two"),
	})
	client := client(t, s)
	for _, test := range []struct {
		url, host string
		status    int
		body      string
	}{
		{"https://one.example.test/", "", 200, "one"},
		{"https://two.example.test/x", "", 200, "two"},
		{"https://ONE.example.test:8443/", "", 200, "one"},
		{"https://one.example.test/", "two.example.test", 421, `does not serve the host "two.example.test"`},
		{"https://one.example.test/", "three.example.test", 421, "it serves: one.example.test, two.example.test"},
	} {
		got := get(t, client, test.url, test.host, "")
		if got.status != test.status || !strings.Contains(got.body, test.body) {
			t.Errorf("%s as %q: got %d %q, want %d with %q", test.url, test.host, got.status, got.body, test.status, test.body)
		}
		if got.major != 2 {
			t.Errorf("%s: got HTTP/%d, want HTTP/2", test.url, got.major)
		}
	}
}

func TestServerHasAKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	hosts := map[string]http.Handler{"one.example.test": say("one")}
	a, b := start(t, hosts), start(t, hosts)
	if a.SPKI() == b.SPKI() {
		t.Error("two servers share a key")
	}
	if got, want := a.Resolve()["one.example.test"], a.Addr(); got != want {
		t.Errorf("Resolve: got %q, want %q", got, want)
	}
	sum := sha256.Sum256(get(t, client(t, a), "https://one.example.test/", "", "").certificate.RawSubjectPublicKeyInfo)
	if got := base64.StdEncoding.EncodeToString(sum[:]); got != a.SPKI() {
		t.Errorf("SPKI: the certificate has %q, the server says %q", got, a.SPKI())
	}
	if !fails(client(t, b), "https://two.example.test/") {
		t.Error("a name without a certificate was trusted")
	}
}

func TestCloseEndsAHandlerThatNeverAnswers(t *testing.T) {
	t.Parallel()
	entered, left := make(chan struct{}), make(chan struct{})
	s := start(t, map[string]http.Handler{"one.example.test": http.HandlerFunc(
		func(_ http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
			close(left)
		})})
	client := client(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://one.example.test/", nil)
		if err != nil {
			done <- err
			return
		}
		res, err := client.Do(req)
		if err == nil {
			err = res.Body.Close()
		}
		done <- err
	}()
	<-entered
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	<-left
	if err := <-done; err == nil {
		t.Log("the cancelled request ended with an empty answer")
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if !fails(client, "https://one.example.test/") {
		t.Error("the closed server still answers")
	}
}

func TestBlobIsKeptByItsTag(t *testing.T) {
	t.Parallel()
	blob := standin.NewBlob("text/plain", standin.Revalidate, []byte("hello"))
	s := start(t, map[string]http.Handler{"one.example.test": blob})
	client := client(t, s)
	first := get(t, client, "https://one.example.test/", "", "")
	if first.body != "hello" || first.header.Get("Content-Type") != "text/plain" {
		t.Fatalf("got %q of type %q", first.body, first.header.Get("Content-Type"))
	}
	for tag, want := range map[string]int{first.header.Get("ETag"): http.StatusNotModified, `"other"`: http.StatusOK} {
		if again := get(t, client, "https://one.example.test/", "", tag); again.status != want {
			t.Errorf("got %d for the tag %s, want %d", again.status, tag, want)
		}
	}
}

func start(t *testing.T, hosts map[string]http.Handler) *standin.Server {
	t.Helper()
	s, err := standin.Start(slog.New(slog.DiscardHandler), hosts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func client(t *testing.T, s *standin.Server) *http.Client {
	t.Helper()
	c := s.Client()
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func say(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
}

// A reply is what the server answered.
type reply struct {
	status, major int
	header        http.Header
	certificate   *x509.Certificate
	body          string
}

// get asks for the address, as another host when there is one, and with the
// tag that the asker knows.
func get(t *testing.T, c *http.Client, url, host, tag string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	if tag != "" {
		req.Header.Set("If-None-Match", tag)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.ProtoMajor, res.Header, res.TLS.PeerCertificates[0], string(body)}
}

// fails reports whether the address cannot be asked at all.
func fails(c *http.Client, url string) bool {
	res, err := c.Get(url)
	if err == nil {
		_ = res.Body.Close()
	}
	return err != nil
}
