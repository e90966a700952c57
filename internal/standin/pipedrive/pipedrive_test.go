package pipedrive_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/standin/pipedrive"
)

var now = time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)

// ask sends a request, and returns the status, the answer and its headers.
func ask(t *testing.T, a *pipedrive.Account, method, path, body string) (int, string, http.Header) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "/api"+path, strings.NewReader(body))
	r.Header.Set("X-Api-Token", "good")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	text, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(text), w.Header()
}

// newAccount has a person, 1, and fields; clock is pushed by tests.
func newAccount(o pipedrive.Options, clock *time.Time) (*pipedrive.Account, map[string]string) {
	o.Valid, o.Now = func(token string) bool { return token == "good" }, func() time.Time { return *clock }
	a := pipedrive.New(o)
	keys := map[string]string{"text": a.AddField("Text", "varchar"), "number": a.AddField("Number", "double"), "one": a.AddField("One", "enum", "a", "b"), "day": a.AddField("Day", "date"), "some": a.AddField("Some", "set", "a")}
	a.Add("persons", pipedrive.Record{"name": "Ada", "emails": []any{map[string]any{"value": "ada@example.test", "primary": true}}})
	return a, keys
}

// TestStrict: what Pipedrive refuses is refused.
func TestStrict(t *testing.T) {
	t.Parallel()
	at := now
	_, keys := newAccount(pipedrive.Options{}, &at)
	custom := func(key, value string) string {
		return `{"name":"X","custom_fields":{"` + keys[key] + `":` + value + `}}`
	}
	for what, test := range map[string]struct {
		method, path, body string
		status             int
	}{
		"unknown path":         {http.MethodGet, "/v2/deals", "", 404},
		"another version":      {http.MethodGet, "/v1/persons", "", 404},
		"notes in v2":          {http.MethodGet, "/v2/notes", "", 404},
		"no name":              {http.MethodPost, "/v2/persons", `{}`, 400},
		"unknown parameter":    {http.MethodPost, "/v2/persons", `{"name":"X","mail":"x"}`, 400},
		"emails as a text":     {http.MethodPost, "/v2/persons", `{"name":"X","emails":"x@example.test"}`, 400},
		"no address":           {http.MethodPost, "/v2/persons", `{"name":"X","emails":[{"value":"x"}]}`, 400},
		"two primary":          {http.MethodPost, "/v2/persons", `{"name":"X","emails":[{"value":"x@y","primary":true},{"value":"z@y","primary":true}]}`, 400},
		"unknown custom field": {http.MethodPost, "/v2/persons", `{"name":"X","custom_fields":{"abc":"x"}}`, 400},
		"number as a text":     {http.MethodPost, "/v2/persons", custom("number", `"1"`), 400},
		"text as a number":     {http.MethodPost, "/v2/persons", custom("text", `1`), 400},
		"text too long":        {http.MethodPost, "/v2/persons", custom("text", `"`+strings.Repeat("x", 256)+`"`), 400},
		"unknown option":       {http.MethodPost, "/v2/persons", custom("one", `1`), 400},
		"option by label":      {http.MethodPost, "/v2/persons", custom("one", `"a"`), 400},
		"set as a text":        {http.MethodPost, "/v2/persons", custom("some", `"a"`), 400},
		"no day":               {http.MethodPost, "/v2/persons", custom("day", `"25.11."`), 400},
		"no such person":       {http.MethodPatch, "/v2/persons/99", `{"name":"X"}`, 404},
		"no number":            {http.MethodGet, "/v2/persons/x", "", 400},
		"no subject":           {http.MethodPost, "/v2/activities", `{}`, 400},
		"nobody takes part":    {http.MethodPost, "/v2/activities", `{"subject":"x","participants":[{"person_id":99}]}`, 400},
		"no time":              {http.MethodPost, "/v2/activities", `{"subject":"x","due_time":"noon"}`, 400},
		"a note of nobody":     {http.MethodPost, "/v1/notes", `{"content":"x","person_id":99}`, 400},
		"a note without":       {http.MethodPost, "/v1/notes", `{"content":"x"}`, 400},
		"short search":         {http.MethodGet, "/v2/persons/search?term=a&exact_match=true", "", 400},
		"inexact search":       {http.MethodGet, "/v2/persons/search?term=ada", "", 400},
		"page too long":        {http.MethodGet, "/v2/persons?limit=501", "", 400},
		"unknown filter":       {http.MethodGet, "/v2/persons?name=x", "", 400},
		"no JSON":              {http.MethodPost, "/v2/persons", `{`, 400},
		"no field type":        {http.MethodPost, "/v1/personFields", `{"name":"X","field_type":"magic"}`, 400},
	} {
		clock := now
		a, _ := newAccount(pipedrive.Options{}, &clock)
		status, text, _ := ask(t, a, test.method, test.path, test.body)
		var said struct {
			Success *bool
			Error   string
		}
		if err := json.Unmarshal([]byte(text), &said); status != test.status || err != nil || said.Success == nil || *said.Success || said.Error == "" {
			t.Errorf("%s: %d %s, want %d", what, status, text, test.status)
		}
		if len(a.Records("persons")) != 1 || len(a.Records("activities"))+len(a.Records("notes")) != 0 {
			t.Errorf("%s: something was made", what)
		}
	}
}

// TestCareless: there is no upsert, and the search is late.
func TestCareless(t *testing.T) {
	t.Parallel()
	at := now
	a, keys := newAccount(pipedrive.Options{Lag: 10 * time.Second, ListLag: time.Second}, &at)
	body := `{"name":"Ada","emails":[{"value":"ada@example.test","primary":true}],"custom_fields":{"` + keys["text"] + `":"our-key"}}`
	for range 2 {
		if status, text, _ := ask(t, a, http.MethodPost, "/v2/persons", body); status != 201 {
			t.Fatalf("%d %s", status, text)
		}
	}
	found := func(path string) int {
		t.Helper()
		_, text, _ := ask(t, a, http.MethodGet, path, "")
		return strings.Count(text, `"name":"Ada"`)
	}
	search, list := "/v2/persons/search?exact_match=true&fields=custom_fields&term=our-key", "/v2/persons?updated_since=2026-11-25T09:59:59Z"
	for _, test := range []struct {
		push         time.Duration
		search, list int
	}{{0, 0, 0}, {2 * time.Second, 0, 3}, {10 * time.Second, 2, 3}} {
		at = at.Add(test.push)
		if s, l := found(search), found(list); s != test.search || l != test.list {
			t.Errorf("after %s the search finds %d and the list %d", at.Sub(now), s, l)
		}
	}
	// A change keeps what it does not name.
	id := a.Records("persons")[1].ID()
	_, _, _ = ask(t, a, http.MethodPatch, "/v2/persons/2", `{"custom_fields":{"`+keys["number"]+`":3}}`)
	if p := a.Records("persons")[1]; id != 2 || p.Custom(keys["text"]) != "our-key" || p.Custom(keys["number"]) != 3.0 || p.Emails()[0] != "ada@example.test" {
		t.Errorf("%v", p)
	}
	if a.Effects("persons", pipedrive.Created) != 2 || a.Effects("persons", pipedrive.Changed) != 1 {
		t.Error("the ledger counts otherwise")
	}
}

// TestPages: lists come in pages.
func TestPages(t *testing.T) {
	t.Parallel()
	at := now
	a, _ := newAccount(pipedrive.Options{}, &at)
	for range 4 {
		a.Add("persons", pipedrive.Record{"name": "X"})
	}
	seen, cursor := 0, "0"
	for cursor != "" {
		_, text, _ := ask(t, a, http.MethodGet, "/v2/persons?limit=2&cursor="+cursor, "")
		var page struct {
			Data []struct{}
			More struct {
				Next string `json:"next_cursor"`
			} `json:"additional_data"`
		}
		if err := json.Unmarshal([]byte(text), &page); err != nil {
			t.Fatal(err)
		}
		seen, cursor = seen+len(page.Data), page.More.Next
	}
	if seen != 5 {
		t.Errorf("%d persons", seen)
	}
}

// TestLimits: two seconds, the guard for those who go on, and the day.
func TestLimits(t *testing.T) {
	t.Parallel()
	at := now
	a, _ := newAccount(pipedrive.Options{Burst: 2, Patience: 1, Daily: 4}, &at)
	for i, want := range []int{200, 200, 429, 403} {
		status, text, h := ask(t, a, http.MethodGet, "/v2/persons/1", "")
		if status != want || (want == 403) != strings.Contains(text, "<title>") || h.Get("X-Ratelimit-Limit") != "2" {
			t.Errorf("%d: %d %s", i, status, text)
		}
	}
	for i, want := range []int{200, 200, 429} {
		at = at.Add(3 * time.Second)
		status, text, h := ask(t, a, http.MethodGet, "/v2/persons/1", "")
		if status != want || h.Get("X-Daily-Ratelimit-Token-Limit") != "4" || want == 429 && !strings.Contains(text, "daily") {
			t.Errorf("%d: %d %s", i, status, text)
		}
	}
	if a.Tokens() != 4 {
		t.Errorf("%d tokens", a.Tokens())
	}
	full, _ := newAccount(pipedrive.Options{MaxPersons: 1}, &at)
	if status, text, _ := ask(t, full, http.MethodPost, "/v2/persons", `{"name":"X"}`); status != 403 || !strings.Contains(text, "feature_capping") {
		t.Errorf("%d %s", status, text)
	}
}

// TestFaults: what a fault leaves done, and what is answered.
func TestFaults(t *testing.T) {
	t.Parallel()
	for kind, test := range map[pipedrive.Kind]struct {
		status, made int
		says         string
	}{
		pipedrive.None: {201, 1, "true"}, pipedrive.Lost: {201, 1, ""}, pipedrive.Late: {502, 1, "bad gateway"}, pipedrive.Down: {503, 0, "unavailable"},
		pipedrive.Expired: {401, 0, "unauthorized"}, pipedrive.Throttled: {429, 0, "over limit"}, pipedrive.Guard: {403, 0, "Cloudflare"}, pipedrive.Capped: {403, 0, "feature_capping"},
	} {
		at := now
		a, _ := newAccount(pipedrive.Options{}, &at)
		a.Set(pipedrive.Faults{Plan: []pipedrive.Kind{kind}})
		status, text, _ := ask(t, a, http.MethodPost, "/v2/persons", `{"name":"X"}`)
		if status != test.status || a.Effects("persons", pipedrive.Created) != test.made || !strings.Contains(text, test.says) || a.Spoiled(kind) != 1 {
			t.Errorf("%s: %d %s, %d made", kind, status, text, a.Effects("persons", pipedrive.Created))
		}
		if kind == pipedrive.Lost && json.Valid([]byte(text)) {
			t.Errorf("the answer is whole: %s", text)
		}
	}
}
