package transit_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/standin/transit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a key store, and somebody who speaks to it by hand.
type rig struct {
	t      *testing.T
	store  *transit.Standin
	server *httptest.Server
	token  string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, store: transit.New()}
	r.server = httptest.NewServer(r.store)
	t.Cleanup(r.server.Close)
	r.token = r.store.Token()
	r.store.Rotate("parley")
	return r
}

// ask asks, and returns the status and the answer's data, or its errors.
func (r *rig) ask(path string, body map[string]string) (int, string) {
	r.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.server.URL+path, bytes.NewReader(text))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("X-Vault-Token", r.token)
	response, err := r.server.Client().Do(request)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Data   map[string]string `json:"data"`
		Errors []string          `json:"errors"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		r.t.Fatal(err)
	}
	return response.StatusCode, strings.Join(answer.Errors, "") + answer.Data["ciphertext"] + answer.Data["plaintext"]
}

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// seal seals the text.
func (r *rig) seal(text, about string) string {
	r.t.Helper()
	status, sealed := r.ask("/v1/transit/encrypt/parley", map[string]string{"plaintext": b64(text), "associated_data": b64(about)})
	if status != http.StatusOK {
		r.t.Fatalf("sealing: %d %s", status, sealed)
	}
	return sealed
}

// opens wants the text, or "" for a refusal.
func (r *rig) opens(sealed, about, want string) {
	r.t.Helper()
	status, got := r.ask("/v1/transit/decrypt/parley", map[string]string{"ciphertext": sealed, "associated_data": b64(about)})
	if want == "" && status != http.StatusBadRequest || want != "" && got != b64(want) {
		r.t.Errorf("opening %.30s…: %d %s, want %q", sealed, status, got, want)
	}
}

func TestSealsAndOpens(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.seal("secret", "us")
	if !strings.HasPrefix(first, "vault:v1:") || strings.Contains(first, b64("secret")) {
		t.Errorf("it is %s", first)
	}
	r.opens(first, "us", "secret")
	r.opens(first, "them", "")
	r.opens(first[:len(first)-8]+"AAAAAAA=", "us", "")
	for _, bad := range []string{"", "nothing", "vault:v1", "vault:v0:AAAA", "vault:v9:AAAA", "vault:v1:!", "vault:v1:AAAA"} {
		r.opens(bad, "us", "")
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.seal("secret", "us")
	r.store.Rotate("parley")
	second := r.seal("secret", "us")
	if !strings.HasPrefix(second, "vault:v2:") {
		t.Errorf("it is %s", second)
	}
	r.opens(first, "us", "secret")
	r.store.Least("parley", 2)
	r.opens(first, "us", "")
	r.opens(second, "us", "secret")
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sealing := map[string]string{"plaintext": b64("x")}
	want := func(path string, status int, text string) {
		t.Helper()
		if got, said := r.ask(path, sealing); got != status || !strings.Contains(said, text) {
			t.Errorf("%s answers %d %q, want %d %q", path, got, said, status, text)
		}
	}
	want("/v1/transit/encrypt/parley", 200, "vault:v1:")
	want("/v1/transit/encrypt/nobody", 400, "key not found")
	want("/v1/transit/rewrap/parley", 404, "no handler")
	want("/v1/elsewhere/encrypt/parley", 404, "no handler")
	r.store.Mount("elsewhere")
	want("/v1/elsewhere/encrypt/parley", 200, "vault:v1:")
	r.store.Mount("transit")
	r.store.Seal(true)
	want("/v1/transit/encrypt/parley", 503, "sealed")
	r.store.Seal(false)
	r.store.Fail(500, 0, 429)
	want("/v1/transit/encrypt/parley", 500, "internal")
	want("/v1/transit/encrypt/parley", 0, "")
	want("/v1/transit/encrypt/parley", 429, "")
	next := r.store.Renew()
	want("/v1/transit/encrypt/parley", 403, "permission denied")
	r.token = next
	want("/v1/transit/encrypt/parley", 200, "vault:v1:")
	sealing["plaintext"] = "no base64"
	want("/v1/transit/encrypt/parley", 400, "base64")
	if told := fmt.Sprint(r.store.Ledger()); strings.Count(told, "parley 200") != 3 || strings.Count(told, "parley 0") != 1 {
		t.Errorf("the ledger says %s", told)
	}
}
