package snippet_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/visitor/snippet"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

const (
	// budget is the most that parley.js may have on its way.
	budget = 5000
	// driverBudget is the most of a driver, with the page runtime.
	driverBudget = 6500
	stubBudget   = 300
)

func manifest(t *testing.T) snippet.Manifest {
	t.Helper()
	m, err := snippet.Load()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestWeight holds the files to their budgets, by what gzip makes of them here.
func TestWeight(t *testing.T) {
	t.Parallel()
	m := manifest(t)
	weigh := func(name string, most int) {
		t.Helper()
		content, ok := snippet.Content(name)
		if !ok {
			t.Fatalf("%s is not there", name)
		}
		var packed bytes.Buffer
		w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes, %d gzipped", name, len(content), packed.Len())
		if packed.Len() > most {
			t.Errorf("%s has %d bytes gzipped, the budget is %d", name, packed.Len(), most)
		}
	}
	weigh(m.Snippet.Name, budget)
	for _, driver := range m.Drivers {
		weigh(driver.Name, driverBudget)
	}
	if n := len(snippet.Stub()); n > stubBudget {
		t.Errorf("the stub has %d bytes, the budget is %d", n, stubBudget)
	}
}

// TestManifest holds the manifest against the files: names, sizes and hashes.
// parley.js vouches for the drivers.
func TestManifest(t *testing.T) {
	t.Parallel()
	m := manifest(t)
	core, ok := snippet.Content(m.Snippet.Name)
	if !ok {
		t.Fatal("parley.js is not there")
	}
	all := map[string]snippet.File{"parley": m.Snippet}
	for name, driver := range m.Drivers {
		all[name] = driver
		if !strings.Contains(string(core), driver.Name) || !strings.Contains(string(core), driver.Integrity) {
			t.Errorf("parley.js does not hold the name and the hash of the driver of %s", name)
		}
	}
	for name, file := range all {
		content, ok := snippet.Content(file.Name)
		if !ok {
			t.Errorf("%s is not there", file.Name)
			continue
		}
		sum := sha256.Sum256(content)
		if want := "sha256-" + base64.StdEncoding.EncodeToString(sum[:]); file.Integrity != want || file.Bytes != len(content) {
			t.Errorf("the manifest says %s and %d bytes of %s, and it has %s and %d", file.Integrity, file.Bytes, name, want, len(content))
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	m := manifest(t)
	for _, test := range []struct {
		path   string
		status int
	}{
		{"/" + m.Snippet.Name, 200},
		{"/parley.js", 200},
		{"/" + m.Drivers["botstar"].Name, 200},
		{"/manifest.json", 404},
		{"/../snippet.go", 404},
		{"/..%2fsnippet.go", 404},
		{"/dist/" + m.Snippet.Name, 404},
		{"/", 404},
	} {
		w := httptest.NewRecorder()
		snippet.Files().ServeHTTP(w, httptest.NewRequest(http.MethodGet, wire.FilesPath+test.path, nil))
		if w.Code != test.status {
			t.Errorf("%s: got %d, want %d", test.path, w.Code, test.status)
		}
		if test.status != 200 {
			continue
		}
		packed := httptest.NewRecorder()
		asked := httptest.NewRequest(http.MethodGet, wire.FilesPath+test.path, nil)
		asked.Header.Set("Accept-Encoding", "gzip, br")
		snippet.Files().ServeHTTP(packed, asked)
		unpacked, err := gzip.NewReader(packed.Body)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(unpacked); err != nil || !bytes.Equal(body, w.Body.Bytes()) {
			t.Errorf("%s differs when it is packed: %v", test.path, err)
		}
		for header, want := range map[string]string{
			"Content-Type": "text/javascript; charset=utf-8", "Access-Control-Allow-Origin": "*",
			"Cache-Control": map[bool]string{true: "public, max-age=300", false: "public, max-age=31536000, immutable"}[test.path == "/parley.js"], "X-Content-Type-Options": "nosniff",
		} {
			if got := w.Header().Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", test.path, header, got, want)
			}
		}
	}
}

func example(change func(*snippet.Site)) snippet.Site {
	s := snippet.Site{Key: "pk_shop", Gateway: "https://chat.example.com", Provider: "botstar"}
	if change != nil {
		change(&s)
	}
	return s
}

// TestCSP is the exact policy.
func TestCSP(t *testing.T) {
	t.Parallel()
	stub := sha256.Sum256([]byte(snippet.Stub()))
	const vendor = "https://chat.example.com/v1/files/ https://widget.botstar.com https://d1a354cq788jiu.cloudfront.net; style-src 'unsafe-inline'"
	const rest = "frame-src https://widget.botstar.com; img-src data: https://static.botstar.com " +
		"https://app-upload-assets.cdn.botstar.com https://d1fmnevnt6737i.cloudfront.net; script-src "
	for _, test := range []struct {
		name   string
		change func(*snippet.Site)
		want   string
	}{
		{"hash", nil, "connect-src https://chat.example.com wss://chat.example.com; " + rest + "'sha256-" + base64.StdEncoding.EncodeToString(stub[:]) + "' " + vendor},
		{"nonce", func(s *snippet.Site) { s.Nonce = "abc" }, "connect-src https://chat.example.com wss://chat.example.com; " + rest + "'nonce-abc' " + vendor},
		{
			"http, port and slash", func(s *snippet.Site) { s.Gateway = "http://127.0.0.1:8081/"; s.Nonce = "abc" },
			"connect-src http://127.0.0.1:8081 ws://127.0.0.1:8081; " + rest + "'nonce-abc' " + strings.ReplaceAll(vendor, "https://chat.example.com", "http://127.0.0.1:8081"),
		},
	} {
		policy, err := snippet.CSP(example(test.change))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, policy.String()); diff != "" {
			t.Errorf("%s: the policy differs (-want +got):\n%s", test.name, diff)
		}
		if strings.Contains(policy.String(), "unsafe-eval") || strings.Contains(strings.Join(policy["script-src"], " "), "unsafe") {
			t.Errorf("%s: scripts are allowed too much: %s", test.name, policy)
		}
	}
}

// TestTag is the exact tag, and nothing of a site gets out of its attribute.
func TestTag(t *testing.T) {
	t.Parallel()
	m := manifest(t)
	got, err := snippet.Tag(example(func(s *snippet.Site) { s.Nonce = `{{ nonce }}` }))
	if err != nil {
		t.Fatal(err)
	}
	want := `<script nonce="{{ nonce }}">` + snippet.Stub() + "</script>\n" +
		`<script async fetchpriority="low" src="https://chat.example.com/v1/files/` + m.Snippet.Name + `" integrity="` + m.Snippet.Integrity +
		`" crossorigin="anonymous" nonce="{{ nonce }}" data-parley="pk_shop" data-consent="ask"></script>` + "\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the tag differs (-want +got):\n%s", diff)
	}
	got, err = snippet.Tag(example(func(s *snippet.Site) { s.Latest = true; s.Consent = snippet.ConsentGiven }))
	if err != nil {
		t.Fatal(err)
	}
	want = "<script>" + snippet.Stub() + "</script>\n" +
		`<script async fetchpriority="low" src="https://chat.example.com/v1/files/parley.js" crossorigin="anonymous" data-parley="pk_shop" data-consent="given"></script>` + "\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the tag without a version differs (-want +got):\n%s", diff)
	}
	got, err = snippet.Tag(example(func(s *snippet.Site) { s.Key = `"><script>alert(1)</script>`; s.Consent = `"x` }))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got, "alert(1)</script>") || strings.Count(got, "<script") != 2 || strings.Contains(got, `\"`) {
		t.Errorf("the key gets out of its attribute: %s", got)
	}
}

func TestRefusesWrongSites(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*snippet.Site)
		reason fault.Reason
	}{
		{"no address", func(s *snippet.Site) { s.Gateway = "" }, fault.BadConfig},
		{"no scheme", func(s *snippet.Site) { s.Gateway = "chat.example.com" }, fault.BadConfig},
		{"a path", func(s *snippet.Site) { s.Gateway = "https://chat.example.com/x" }, fault.BadConfig},
		{"another scheme", func(s *snippet.Site) { s.Gateway = "javascript://chat.example.com" }, fault.BadConfig},
		{"a query", func(s *snippet.Site) { s.Gateway = "https://chat.example.com?x" }, fault.BadConfig},
		{"no driver", func(s *snippet.Site) { s.Provider = "tidio" }, fault.UnsupportedProvider},
	} {
		_, tagged := snippet.Tag(example(test.change))
		_, policy := snippet.CSP(example(test.change))
		_, page := snippet.TestPage(example(test.change), "shop")
		for what, err := range map[string]error{"Tag": tagged, "CSP": policy, "TestPage": page} {
			if !errors.Is(err, fault.New(test.reason, "")) {
				t.Errorf("%s, %s: got %v, want %s", test.name, what, err, test.reason)
			}
		}
	}
}

func TestTestPage(t *testing.T) {
	t.Parallel()
	got, err := snippet.TestPage(example(nil), `a & b`)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"Parley on a &amp; b", "default-src &#39;none&#39;", "nonce-test-page", `data-parley="pk_shop"`} {
		if !strings.Contains(got, part) {
			t.Errorf("the test page has no %q", part)
		}
	}
	if strings.Contains(got, "{{") {
		t.Error("a place holder is left in the test page")
	}
}
