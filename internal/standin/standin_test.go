package standin_test

import (
	"context"
	"crypto/sha256"
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
		res, body := get(t, client, test.url, test.host)
		if res.StatusCode != test.status || !strings.Contains(body, test.body) {
			t.Errorf("%s as %q: got %d %q, want %d with %q", test.url, test.host, res.StatusCode, body, test.status, test.body)
		}
		if res.ProtoMajor != 2 {
			t.Errorf("%s: got %s, want HTTP/2", test.url, res.Proto)
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
	res, _ := get(t, client(t, a), "https://one.example.test/", "")
	sum := sha256.Sum256(res.TLS.PeerCertificates[0].RawSubjectPublicKeyInfo)
	if got := base64.StdEncoding.EncodeToString(sum[:]); got != a.SPKI() {
		t.Errorf("SPKI: the certificate has %q, the server says %q", got, a.SPKI())
	}
	if _, err := client(t, b).Get("https://two.example.test/"); err == nil {
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
	<-done
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := client.Get("https://one.example.test/"); err == nil {
		t.Error("the closed server still answers")
	}
}

func TestBlobIsKeptByItsTag(t *testing.T) {
	t.Parallel()
	blob := standin.NewBlob("text/plain", standin.Revalidate, []byte("hello"))
	s := start(t, map[string]http.Handler{"one.example.test": blob})
	client := client(t, s)
	res, body := get(t, client, "https://one.example.test/", "")
	if body != "hello" || res.Header.Get("Content-Type") != "text/plain" {
		t.Fatalf("got %q of type %q", body, res.Header.Get("Content-Type"))
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://one.example.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("If-None-Match", res.Header.Get("ETag"))
	again, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Body.Close()
	if again.StatusCode != http.StatusNotModified {
		t.Errorf("got %d for a known tag, want 304", again.StatusCode)
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

func get(t *testing.T, c *http.Client, url, host string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}
