package botstar_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/standin"
	"github.com/parley-chat/parley/internal/standin/botstar"
)

const (
	base = "https://" + botstar.APIHost + "/v1"
	bot  = "sb0700000-0000-4000-8000-00000000000a"
)

// An office is the REST API with one bot, and a client of its own that knows
// nothing of ours.
type office struct {
	t      *testing.T
	api    *botstar.REST
	client *http.Client
	now    func(time.Duration) // moves the vendor's clock
}

func openOffice(t *testing.T) *office {
	t.Helper()
	var mu sync.Mutex
	now := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	s := botstar.New(botstar.Options{
		Bots: []botstar.Bot{{ID: bot, AppID: "s0a1b2c3d-0000-4000-8000-000000000001", Name: "Nova", Team: "Shop", Token: "bot-token"}},
		Now: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		},
	})
	server, err := standin.Start(slog.New(slog.DiscardHandler), s.Hosts())
	if err != nil {
		t.Fatal(err)
	}
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(func() {
		client.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return &office{t, s.REST(), client, func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}}
}

// ask sends a request, and returns the status and the answer.
func (o *office) ask(method, path, body string, header ...string) (int, any) {
	o.t.Helper()
	if !strings.HasPrefix(path, "https:") {
		path = base + path
	}
	r, err := http.NewRequestWithContext(o.t.Context(), method, path, bytes.NewReader([]byte(body)))
	if err != nil {
		o.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+o.api.Token())
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := o.client.Do(r)
	if err != nil {
		o.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	var answer any
	if err := json.Unmarshal(text, &answer); err != nil {
		answer = string(text)
	}
	return response.StatusCode, answer
}

// must wants 200, and returns the answer.
func (o *office) must(method, path, body string) any {
	o.t.Helper()
	status, answer := o.ask(method, path, body)
	if status != http.StatusOK {
		o.t.Fatalf("%s %s is %d: %v", method, path, status, answer)
	}
	return answer
}

// id wants 200, and returns the id of the answer.
func (o *office) id(method, path, body string) string {
	o.t.Helper()
	answer, _ := o.must(method, path, body).(map[string]any)
	id, _ := answer["id"].(string)
	if !regexp.MustCompile(`^s[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$`).MatchString(id) {
		o.t.Fatalf("%s %s has the id %q", method, path, id)
	}
	return id
}

func TestRESTAuthorization(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	for header, want := range map[string]int{
		"Bearer " + o.api.Token(): 200, "Bearer" + o.api.Token(): 401, "bearer " + o.api.Token(): 401, o.api.Token(): 401,
		"Bearer ": 401, "": 401, "Bearer " + o.api.Token() + "x": 401, "Basic " + o.api.Token(): 401,
	} {
		status, answer := o.ask("GET", "/bots/", "", "Authorization", header)
		if status != want {
			t.Errorf("%q is %d, want %d", header, status, want)
		}
		if body, ok := answer.(map[string]any); want == 401 && (!ok || body["error"] != "unauthorized" || body["message"] == "") {
			t.Errorf("%q answers %v", header, answer)
		}
	}
	o.api.Revoke("another")
	if status, _ := o.ask("GET", "/bots/", ""); status != 200 {
		t.Errorf("the new token is %d", status)
	}
	if status, _ := o.ask("POST", "/bots/", `{"name":"x"}`, "Authorization", "Bearer standin-account-token"); status != 401 || o.api.Effects(botstar.CreateBot) != 0 {
		t.Errorf("the revoked token is %d", status)
	}
}

// TestRESTSlashes: both forms of every path are the same.
func TestRESTSlashes(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	for _, path := range []string{"/bots", "/bots/" + bot, "/bots/" + bot + "/attributes", "/bots/" + bot + "/cms_entities"} {
		if diff := cmp.Diff(o.must("GET", path, ""), o.must("GET", path+"/", "")); diff != "" {
			t.Errorf("%s and %s/ differ:\n%s", path, path, diff)
		}
	}
	if all, ok := o.must("GET", "/bots/", "").([]any); !ok || len(all) != 1 {
		t.Errorf("the list of bots is no bare array: %v", all)
	}
	for _, request := range []string{"GET /bots/nobody", "GET /nothing", "PUT /bots"} {
		method, path, _ := strings.Cut(request, " ")
		if status, _ := o.ask(method, path, ""); status != 404 && status != 405 {
			t.Errorf("%s is %d", request, status)
		}
	}
}

// TestRESTStores: draft and live are two, and publish copies the one onto the
// other.
func TestRESTStores(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	in := "/bots/" + bot
	count := func(path string) int {
		t.Helper()
		all, ok := o.must("GET", in+path, "").([]any)
		if !ok {
			t.Fatalf("%s is no array", path)
		}
		return len(all)
	}
	o.id("POST", in+"/attributes", `{"name":"colour","data_type":"string","value":"red","value_es":"rojo"}`)
	entity := o.id("POST", in+"/cms_entities?env=draft", `{"name":"Coffee","fields":[{"unique_name":"price","name":"Price","data_type":"text"}]}`)
	item := o.id("POST", in+"/cms_entities/"+entity+"/items", `{"name":"Mocha","price":"3"}`)
	if count("/attributes") != 1 || count("/attributes?env=live") != 0 || count("/cms_entities?env=live") != 0 {
		t.Error("a change of the draft is live")
	}
	o.must("POST", in+"/publish", "")
	if count("/attributes?env=live") != 1 || count("/cms_entities/"+entity+"/items?env=live") != 1 {
		t.Error("what was published is not live")
	}
	o.must("PATCH", in+"/cms_entities/"+entity+"/items/"+item, `{"price":"4"}`)
	price := func(env string) any {
		t.Helper()
		got, _ := o.must("GET", in+"/cms_entities/"+entity+"/items/"+item+"?env="+env, "").(map[string]any)
		return got["price"]
	}
	if price("draft") != "4" || price("live") != "3" {
		t.Errorf("the price is %v in the draft, and %v live", price("draft"), price("live"))
	}
	o.must("PATCH", in+"/cms_entities/"+entity+"/items/"+item+"?env=draft,live", `{"price":"5"}`)
	if price("draft") != "5" || price("live") != "5" {
		t.Error("a change of both stores is not in both")
	}
	for path, method := range map[string]string{"/attributes?env=draft,live": "GET", "/attributes?env=all": "GET", "/cms_entities?env=live": "POST"} {
		if status, _ := o.ask(method, in+path, `{"name":"x"}`); status != 400 {
			t.Errorf("%s %s is %d", method, path, status)
		}
	}
}

// TestRESTItems: both keys of the id, localised values, paging and filters.
func TestRESTItems(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	in := "/bots/" + bot
	entity := o.id("POST", in+"/cms_entities", `{"name":"Coffee"}`)
	items := in + "/cms_entities/" + entity + "/items"
	for i := range 5 {
		id := o.id("POST", items, fmt.Sprintf(`{"name":"Item %d","status":"%s"}`, i%2, []string{"enabled", "disabled"}[i%2]))
		got, _ := o.must("GET", items+"/"+id, "").(map[string]any)
		if got["id"] != id || got["_id"] != id || got["entity_id"] != entity {
			t.Errorf("the item is %v", got)
		}
	}
	for query, want := range map[string]int{
		"": 5, "?limit=2": 2, "?limit=2&page=3": 1, "?limit=2&page=4": 0, "?page=1000000&limit=1000": 0,
		"?name=item%200": 3, "?status=disabled": 2, "?status=disabled&name=Item+0": 0,
	} {
		if all, _ := o.must("GET", items+query, "").([]any); len(all) != want {
			t.Errorf("%q lists %d, want %d", query, len(all), want)
		}
	}
	for _, query := range []string{"?limit=0", "?page=0", "?page=-1", "?limit=x"} {
		if status, _ := o.ask("GET", items+query, ""); status != 400 {
			t.Errorf("%q is %d", query, status)
		}
	}
	attribute := o.id("POST", in+"/attributes", `{"name":"greeting","data_type":"string","value":"hello","value_es":"hola"}`)
	o.must("PATCH", in+"/attributes/"+attribute, `{"value_fr":"bonjour"}`)
	all, _ := o.must("GET", in+"/attributes", "").([]any)
	want := []any{map[string]any{
		"id": attribute, "name": "greeting", "data_type": "string", "desc": nil, "value": "hello", "value_es": "hola", "value_fr": "bonjour",
	}}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("the attributes (-want +got):\n%s", diff)
	}
}

// TestRESTUsers: the visitors of the widget and the users of the API are the
// same.
func TestRESTUsers(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	in := "/bots/" + bot + "/users/"
	id := o.api.AddUser(bot, "", map[string]any{"first_name": "Ada", "last_name": "L", "avatar": "https://x.test/a.png", "plan": "free"}, "lead")
	want := map[string]any{
		"id": id, "board_id": "s0a1b2c3d-0000-4000-8000-000000000001", "name": "Ada L", "first_name": "Ada", "last_name": "L", "email": "",
		"gender": "", "birthday": "", "channel": "website", "ip": "", "locale": "en", "picture": "https://x.test/a.png", "timezone": 0.0,
		"tags": []any{"lead"}, "otn_topics": []any{}, "plan": "free",
	}
	if diff := cmp.Diff(want, o.must("GET", in+id, "")); diff != "" {
		t.Errorf("the user (-want +got):\n%s", diff)
	}
	o.id("POST", in+"attributes", `{"field_name":"seats","field_type":"number"}`)
	o.must("PATCH", in+id, `{"seats":3,"plan":"pro","birthday":"1815-12-10"}`)
	got, _ := o.must("GET", in+id, "").(map[string]any)
	if got["seats"] != 3.0 || got["plan"] != "pro" || got["birthday"] != "1815-12-10" {
		t.Errorf("the user is %v", got)
	}
	for body, status := range map[string]int{
		`{"seats":"three"}`: 400, `{"nobody_knows":1}`: 400, `{"tags":["x"]}`: 400, `{"plan":null}`: 400, `{"birthday":"today"}`: 400, `{"gender":"x"}`: 400, `{}`: 400, `[]`: 400, `{`: 400,
	} {
		if got, answer := o.ask("PATCH", in+id, body); got != status {
			t.Errorf("%s is %d: %v", body, got, answer)
		}
	}
	if status, _ := o.ask("POST", in+"attributes", `{"field_name":"seats","field_type":"number"}`); status != 409 {
		t.Errorf("an attribute twice is %d", status)
	}
	if status, _ := o.ask("GET", in+"nobody", ""); status != 404 {
		t.Errorf("a user that is not there is %d", status)
	}
}

// TestRESTRefuses holds what the API does not take.
func TestRESTRefuses(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	in := "/bots/" + bot
	entity := o.id("POST", in+"/cms_entities", `{"name":"Coffee"}`)
	website, facebook := o.api.AddUser(bot, "", nil), o.api.AddUser(bot, "facebook", nil)
	older := "https://" + botstar.OlderAPIHost + "/broadcast?token="
	tests := []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/bots/", `{"name":""}`, 400},
		{"POST", "/bots/", `{"name":"` + strings.Repeat("x", 251) + `"}`, 400},
		{"POST", "/bots/", `{"name":"x","more":1}`, 400},
		{"POST", in + "/attributes", `{"name":"x","data_type":"boolean"}`, 400},
		{"PATCH", in + "/attributes/nothing", `{"value":"x"}`, 404},
		{"DELETE", in + "/attributes/nothing", ``, 404},
		{"POST", in + "/cms_entities/" + entity + "/fields", `{"fields":[{"unique_name":"a","name":"A","dataType":"text"}]}`, 400},
		{"POST", in + "/cms_entities/" + entity + "/fields", `{"fields":[{"unique_name":"a","name":"A","data_type":"text"}]}`, 200},
		{"POST", in + "/cms_entities/" + entity + "/fields", `[{"unique_name":"b","name":"B","data_type":"free_text"}]`, 200},
		{"POST", in + "/cms_entities/" + entity + "/fields", `{"fields":[{"unique_name":"b","name":"B","data_type":"text"}]}`, 409},
		{"PATCH", in + "/cms_entities/" + entity + "/fields", `{"fields":[{"unique_name":"c","name":"C"}]}`, 404},
		{"DELETE", in + "/cms_entities/" + entity + "/fields?unique_names=a,status", ``, 400},
		{"DELETE", in + "/cms_entities/" + entity + "/fields?unique_names=a,b", ``, 200},
		{"POST", in + "/cms_entities/" + entity + "/items", `{"name":"x","a":"y"}`, 400},
		{"POST", in + "/cms_entities/" + entity + "/items", `{"name":"x","status":"on"}`, 400},
		{"DELETE", in + "/cms_entities/nothing", ``, 404},
		{"POST", "/messages", `{"recipient":{"id":"` + website + `"},"message":{"text":"x"}}`, 422},
		{"POST", "/messages", `{"recipient":{"id":"` + facebook + `"},"message":{"text":"x"},"options":{"message_tag":"SALE"}}`, 400},
		{"POST", "/messages", `{"recipient":{"id":"` + facebook + `"},"message":{"text":"x"}}`, 200},
		{"POST", older + "bot-token", `{"userId":"` + website + `","messages":[{"text":"x"}]}`, 200},
		{"POST", older + o.api.Token(), `{"userId":"` + website + `","messages":[{"text":"x"}]}`, 401},
		{"POST", older + "bot-token", `{"userId":"` + website + `","messages":[]}`, 400},
	}
	for _, tt := range tests {
		if status, answer := o.ask(tt.method, tt.path, tt.body); status != tt.status {
			t.Errorf("%s %s %.60s is %d, want %d: %v", tt.method, tt.path, tt.body, status, tt.status, answer)
		}
	}
	if status, _ := o.ask("POST", "/bots/", `{"name":"x"}`, "Content-Type", "text/plain"); status != 415 {
		t.Errorf("a body of another type is %d", status)
	}
	if status, _ := o.ask("POST", "/bots/", `{"name":"`+strings.Repeat("x", 2<<20)+`"}`); status != 413 {
		t.Errorf("a large body is %d", status)
	}
}

// TestRESTLimit: the limit slides.
func TestRESTLimit(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	o.api.Set(botstar.RESTFaults{Limit: botstar.Throttle{Limit: 3, Window: time.Minute}})
	var got []int
	for i := range 6 {
		if i == 5 {
			o.now(time.Minute)
		}
		status, _ := o.ask("GET", "/bots", "")
		got = append(got, status)
	}
	if diff := cmp.Diff([]int{200, 200, 200, 429, 429, 200}, got); diff != "" {
		t.Errorf("the answers (-want +got):\n%s", diff)
	}
}

// TestRESTLedger counts what took effect, whatever was answered.
func TestRESTLedger(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	o.api.Set(botstar.RESTFaults{Plan: map[botstar.Operation][]botstar.RESTFault{botstar.CreateBot: {
		{Status: 500}, {Late: 500}, {Body: "<html>"}, {Hollow: `{"id":"x"}`},
	}}})
	var got []int
	for range 5 {
		status, _ := o.ask("POST", "/bots/", `{"name":"x"}`)
		got = append(got, status)
	}
	if diff := cmp.Diff([]int{500, 500, 200, 200, 200}, got); diff != "" {
		t.Errorf("the answers (-want +got):\n%s", diff)
	}
	var faults []string
	for _, call := range o.api.Calls(botstar.CreateBot) {
		faults = append(faults, fmt.Sprintf("%d %t %s", call.Status, call.Changed, call.Fault))
	}
	want := []string{"500 false status 500", "500 true late 500", "200 true body", "200 false hollow", "200 true "}
	if diff := cmp.Diff(want, faults); diff != "" {
		t.Errorf("the ledger (-want +got):\n%s", diff)
	}
	if n := o.api.Effects(botstar.CreateBot); n != 3 {
		t.Errorf("%d bots were made, want 3", n)
	}
	if all, _ := o.must("GET", "/bots", "").([]any); len(all) != 4 {
		t.Errorf("there are %d bots, want 4", len(all))
	}
}

// TestRESTShares: chance with a seed repeats itself.
func TestRESTShares(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	run := func() (bad int, seen string) {
		var all strings.Builder
		o.api.Set(botstar.RESTFaults{Seed: 7, Shares: []botstar.RESTShare{{Share: 0.3, Fault: botstar.RESTFault{Status: 503, RetryAfter: "1"}}}})
		for range 100 {
			status, _ := o.ask("GET", "/bots", "")
			if status == 503 {
				bad++
			}
			fmt.Fprint(&all, status, " ")
		}
		return bad, all.String()
	}
	first, once := run()
	_, again := run()
	if first < 15 || first > 45 || once != again {
		t.Errorf("%d of 100 calls failed, and the second run is the same: %t", first, once == again)
	}
}
