package botstar_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/botstar"
)

var now = time.Date(2026, 11, 25, 9, 0, 30, 0, time.UTC)

func source(t *testing.T, s ingest.Settings) ingest.Source {
	t.Helper()
	src, err := botstar.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func receive(t *testing.T, path, body string, at time.Time) []ingest.Item {
	t.Helper()
	got, err := source(t, ingest.Settings{}).Receive(t.Context(), &ingest.Request{Token: true, Path: path, Body: []byte(body), At: at})
	if err != nil {
		t.Fatal(err)
	}
	return got.Items
}

func one(t *testing.T, body string) ingest.Item {
	t.Helper()
	items := receive(t, "", body, now)
	if len(items) != 1 {
		t.Fatalf("%s gives %d items", body, len(items))
	}
	return items[0]
}

// Every name of the tolerance list, and every label of the bot builder, is
// understood.
func TestNames(t *testing.T) {
	t.Parallel()
	for kind, names := range map[string][]string{
		event.KindCheckpoint:  {"new_checkpoint_record", "checkpoint", "checkpoint_record", "New Checkpoint Record"},
		event.KindUserCapture: {"user_capture_response", "capture_response", "User Capture Response"},
		event.KindSubscriber:  {"new_subscriber", "subscriber", "New Subscriber"},
		event.KindAttribute:   {"updated_user_attribute", "attribute_updated", "Updated User Attribute"},
		event.KindTag:         {"new_tag", "tag_added", "New Tag on User", "new-tag"},
		event.KindTakeover:    {"human_takeover", "request_human_takeover", "New Request for Human Takeover"},
		event.KindCMSItem:     {"new_cms_item", "New CMS Item"},
	} {
		for _, name := range append(names, kind, "botstar.event."+kind) {
			for _, key := range []string{"event", "type", "event_type"} {
				item := one(t, fmt.Sprintf(`{%q:%q,"user":{"id":"s-1"}}`, key, name))
				if item.Err != nil || item.Kind != kind || item.Trigger.Event != kind {
					t.Errorf("%s: %s is a %s: %v", key, name, item.Kind, item.Err)
				}
			}
		}
	}
}

// Every datum is found under each of its keys.
func TestKeys(t *testing.T) {
	t.Parallel()
	tests := []struct {
		event string
		prop  string
		want  any
		data  []string
	}{
		{"subscriber", botstar.PropUser, "s-1", []string{`"user_id":"s-1"`, `"userId":"s-1"`, `"user":{"id":"s-1"}`, `"user":{"_id":"s-1"}`}},
		{"subscriber", botstar.PropUserName, "Ada", []string{`"user_id":1,"user_name":"Ada"`, `"user":{"id":1,"name":"Ada"}`}},
		{"subscriber", botstar.PropBot, "b", []string{`"user_id":1,"bot_id":"b"`, `"user_id":1,"botId":"b"`, `"user_id":1,"bot":{"id":"b"}`}},
		{"subscriber", botstar.PropEnvironment, "test", []string{`"user_id":1,"environment":"test"`, `"user_id":1,"env":"Test"`, `"user_id":1,"env":"preview"`}},
		{"subscriber", botstar.PropEnvironment, "live", []string{`"user_id":1,"environment":"live"`, `"user_id":1,"env":"production"`}},
		{"attribute_updated", botstar.PropAttribute, "tier", []string{
			`"user_id":1,"attribute":"tier","attribute_value":"gold"`, `"user_id":1,"attribute_name":"tier"`, `"user_id":1,"attribute":{"name":"tier","value":1}`,
		}},
		{"attribute_updated", botstar.PropValue, "gold", []string{
			`"user_id":1,"attribute":"tier","attribute_value":"gold"`, `"user_id":1,"attribute":"tier","value":"gold"`, `"user_id":1,"attribute":{"name":"tier","value":"gold"}`,
		}},
		{"attribute_updated", botstar.PropValue, json.Number("7"), []string{`"user_id":1,"attribute":"n","attribute_value":7`}},
		{"new_tag", botstar.PropTag, "vip", []string{`"user_id":1,"tag":"vip"`, `"user_id":1,"tag_name":"vip"`, `"user_id":1,"tag":{"name":"vip"}`}},
		{"checkpoint", botstar.PropCheckpoint, "paid", []string{
			`"user_id":1,"checkpoint_name":"paid"`, `"user_id":1,"checkpoint":"paid"`, `"user_id":1,"checkpoint":{"name":"paid"}`,
		}},
		{"checkpoint", botstar.PropData, ingest.Object{"sum": "1"}, []string{`"user_id":1,"checkpoint_data":{"sum":"1"}`, `"user_id":1,"data":{"sum":"1"}`}},
		{"capture_response", botstar.PropResponse, "yes", []string{`"user_id":1,"capture_response":"yes"`, `"user_id":1,"response":"yes"`}},
		{"capture_response", botstar.PropBlock, "k", []string{`"user_id":1,"block_id":"k"`, `"user_id":1,"block":{"id":"k"}`}},
		{"new_cms_item", botstar.PropEntity, "e", []string{`"bot_id":1,"entity_id":"e"`, `"bot_id":1,"entity":{"id":"e"}`}},
		{"new_cms_item", botstar.PropItem, "i", []string{`"bot_id":1,"item_id":"i"`, `"bot_id":1,"item":{"id":"i"}`}},
	}
	for _, test := range tests {
		for _, data := range test.data {
			item := one(t, fmt.Sprintf(`{"event":%q,%s}`, test.event, data))
			if diff := cmp.Diff(test.want, item.Trigger.Properties[test.prop]); diff != "" || item.Err != nil {
				t.Errorf("%s: {%s}: %v\n%s", test.prop, data, item.Err, diff)
			}
		}
	}
}

func TestVisitors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body string
		want event.Visitor
	}{
		"the site's own id is best": {
			`"user":{"id":"s-1","email":"ada@example.test","attributes":{"user_id":"u-42"}}`,
			event.Visitor{UserID: "u-42", Email: "ada@example.test", AnonymousID: "botstar:s-1"},
		},
		"attributes beside the user": {`"user_id":"s-1","attributes":{"user_id":"u-42"}`, event.Visitor{UserID: "u-42", AnonymousID: "botstar:s-1"}},
		"then the address":           {`"user":{"id":"s-1","email":"ada@example.test"}`, event.Visitor{Email: "ada@example.test", AnonymousID: "botstar:s-1"}},
		"an address that is none":    {`"user":{"id":"s-1","email":"none"}`, event.Visitor{AnonymousID: "botstar:s-1"}},
		"else the vendor's":          {`"user":{"id":"s-1"}`, event.Visitor{AnonymousID: "botstar:s-1"}},
		"the user id was updated":    {`"user_id":"s-1","attribute":"user_id","attribute_value":"u-42"`, event.Visitor{UserID: "u-42", AnonymousID: "botstar:s-1"}},
		"the address was updated":    {`"user":{"id":"s-1","email":"old@example.test"},"attribute":"email","attribute_value":"new@example.test"`, event.Visitor{Email: "new@example.test", AnonymousID: "botstar:s-1"}},
	}
	for name, test := range tests {
		item := one(t, `{"event":"updated_user_attribute",`+test.body+`}`)
		if diff := cmp.Diff(test.want, item.Trigger.Visitor); diff != "" || item.Err != nil {
			t.Errorf("%s (-want +got): %v\n%s", name, item.Err, diff)
		}
	}
	item := one(t, `{"event":"new_cms_item","bot_id":"b-1","item_id":"i"}`)
	if item.Err != nil || item.Trigger.Visitor != (event.Visitor{AnonymousID: "botstar:bot:b-1"}) {
		t.Errorf("an item of the CMS happens to %+v: %v", item.Trigger.Visitor, item.Err)
	}
}

func TestTraitsAndTimes(t *testing.T) {
	t.Parallel()
	item := one(t, `{"event":"updated_user_attribute","timestamp":"2026-11-25T08:59:59.5Z","attribute":"tier","attribute_value":"gold",
		"user":{"id":"s-1","name":"Ada","tags":["vip"],"attributes":{"city":"Bonn","user_id":"u-42"}}}`)
	want := map[string]any{"name": "Ada", "tags": []any{"vip"}, "city": "Bonn", "user_id": "u-42", "tier": "gold"}
	if diff := cmp.Diff(want, item.Trigger.Traits); diff != "" {
		t.Errorf("the traits (-want +got):\n%s", diff)
	}
	for text, want := range map[string]time.Time{
		`"2026-11-25T08:59:59.5Z"`: time.Date(2026, 11, 25, 8, 59, 59, 500_000_000, time.UTC),
		`1795168800`:               time.Unix(1795168800, 0).UTC(),
		`"1795168800123"`:          time.UnixMilli(1795168800123).UTC(),
		`"yesterday"`:              {},
		`null`:                     {},
		`-1`:                       {},
	} {
		if got := one(t, `{"event":"new_tag","user_id":1,"timestamp":`+text+`}`); !got.Trigger.OccurredAt.Equal(want) || got.Err != nil {
			t.Errorf("%s is the time %s: %v", text, got.Trigger.OccurredAt, got.Err)
		}
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	id := func(body string, at time.Time) string { return receive(t, "", body, at)[0].ID }
	for _, body := range []string{`{"event":"new_tag","user_id":1,"id":"e-1"}`, `{"event":"new_tag","user_id":1,"event_id":"e-1"}`} {
		if got := id(body, now.Add(72*time.Hour)); got != "e-1" {
			t.Errorf("%s has the id %q", body, got)
		}
	}
	const bare = `{"event":"new_tag","user_id":"s-1","bot_id":"b","tag":"vip"}`
	if id(bare, now) != id(bare, now.Add(29*time.Second)) || id(bare, now) == id(bare, now.Add(30*time.Second)) {
		t.Error("the minute does not decide")
	}
	for what, other := range map[string]string{
		"user": strings.Replace(bare, "s-1", "s-2", 1), "bot": strings.Replace(bare, `"b"`, `"c"`, 1),
		"event": strings.Replace(bare, "new_tag", "new_subscriber", 1), "body": strings.Replace(bare, "vip", "vap", 1),
	} {
		if id(other, now) == id(bare, now) {
			t.Errorf("another %s is the same event", what)
		}
	}
	if got := id(`{"event":"new_tag","user_id":1,"id":"`+strings.Repeat("x", 257)+`"}`, now); len(got) > 256 {
		t.Errorf("the id has %d characters", len(got))
	}
}

// The address may say what the body does not; where both say it, the body does.
func TestTheAddressNamesTheEvent(t *testing.T) {
	t.Parallel()
	src := source(t, ingest.Settings{})
	routes := map[string]bool{}
	for _, route := range src.Routes() {
		routes[route.Path] = route.Method == http.MethodPost
	}
	for _, test := range []struct{ path, body, kind, environment string }{
		{"/" + event.KindTakeover, `{"user_id":1}`, event.KindTakeover, "test"},
		{"/" + event.KindTakeover, `{"user_id":1,"event":"triggered"}`, event.KindTakeover, "test"},
		{"/" + event.KindTakeover, `{"user_id":1,"event":"new_tag","env":"live"}`, event.KindTag, "live"},
		{"", `{"user_id":1,"event":"new_tag"}`, event.KindTag, "test"},
	} {
		got, err := src.Receive(t.Context(), &ingest.Request{Token: true, Path: test.path, Query: url.Values{"env": {"test"}}, Body: []byte(test.body), At: now})
		if err != nil || !routes[test.path] || got.Items[0].Kind != test.kind || got.Items[0].Trigger.Properties[botstar.PropEnvironment] != test.environment {
			t.Errorf("%s %s gives %+v, %v", test.path, test.body, got, err)
		}
	}
	if len(routes) != 8 {
		t.Errorf("the routes are %v", routes)
	}
}

func TestOneEnvironmentOnly(t *testing.T) {
	t.Parallel()
	src := source(t, ingest.Settings{Mapping: map[string]string{"environment": "live"}})
	for body, taken := range map[string]bool{
		`{"event":"new_tag","user_id":1,"environment":"live"}`: true,
		`{"event":"new_tag","user_id":1}`:                      true,
		`{"event":"new_tag","user_id":1,"environment":"test"}`: false,
	} {
		got, err := src.Receive(t.Context(), &ingest.Request{Token: true, Body: []byte(body), At: now})
		if err != nil || len(got.Items) != 1 || (got.Items[0].Err == nil) != taken {
			t.Errorf("%s gives %+v, %v", body, got, err)
		}
	}
	for _, wrong := range []map[string]string{{"environment": "draft"}, {"site": "x"}} {
		if _, err := botstar.New(ingest.Settings{Name: "bot", Mapping: wrong}); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("the mapping %v is taken: %v", wrong, err)
		}
	}
}

func TestWhatIsWrongIsRejected(t *testing.T) {
	t.Parallel()
	for body, field := range map[string]string{
		`{"user_id":1}`:                                   "/event",
		`{"user_id":1,"event":"new_tagg"}`:                "/event",
		`{"event":"new_tag"}`:                             "/user",
		`{"event":"new_tag","user":{"id":""}}`:            "/user",
		`[{"event":"new_tag","user_id":1},{"event":"x"}]`: "/1/event",
		`[{"event":"new_tag","user_id":1},null]`:          "/1",
		`{"event":"new_tag","user_id":1,"user_id":2}`:     "/user_id",
		`{`: "",
		``:  "",
	} {
		items := receive(t, "", body, now)
		last := items[len(items)-1]
		if e := fault.From(last.Err); e == nil || e.Field != field || e.Code != fault.Invalid {
			t.Errorf("%s is answered with %v, want a fault at %q", body, last.Err, field)
		}
		if len(items) > 1 && items[0].Err != nil {
			t.Errorf("%s spoils the good event: %v", body, items[0].Err)
		}
	}
	if e := fault.From(one(t, `{"user_id":1,"event":"new_tagg"}`).Err); !strings.Contains(e.Fix, "new_tag") {
		t.Errorf("the fix is %q", e.Fix)
	}
	for _, body := range []string{`[1`, "[" + strings.Repeat("1,", 100) + "1]"} {
		if items := receive(t, "", body, now); len(items) != 1 || fault.CodeOf(items[0].Err) != fault.Invalid || string(items[0].Raw) != body {
			t.Errorf("%.10s… gives %+v", body, items)
		}
	}
}

// Forged signatures and tokens, from a ledger: of all that are tried none is
// accepted.
func TestForgeriesAreRefused(t *testing.T) {
	t.Parallel()
	body := []byte(`{"event":"new_tag","user_id":1,"tag":"vip"}`)
	sign := func(key, body []byte) string {
		mac := hmac.New(sha256.New, key)
		mac.Write(body)
		return hex.EncodeToString(mac.Sum(nil))
	}
	signed := source(t, ingest.Settings{Secrets: [][]byte{[]byte("s3cret"), []byte("next")}})
	tried, accepted := 0, 0
	try := func(src ingest.Source, header string, token bool, body []byte) bool {
		tried++
		got, err := src.Receive(t.Context(), &ingest.Request{Token: token, Header: http.Header{botstar.Header: {header}}, Body: body, At: now})
		if err != nil && fault.From(err).Reason != fault.NotAuthentic {
			t.Errorf("the refusal is %v", err)
		}
		return err == nil && len(got.Items) > 0
	}
	forge := func(header string, token bool, body []byte) {
		if try(signed, header, token, body) {
			accepted++
			t.Errorf("%q is accepted for %s", header, body)
		}
	}
	good := sign([]byte("s3cret"), body)
	for i := range good {
		for _, c := range "0123456789abcdefxyz" {
			if byte(c) != good[i] {
				forge("sha256="+good[:i]+string(c)+good[i+1:], true, body)
			}
		}
		forge("sha256="+good[:i], true, body)
	}
	for i := range body {
		altered := []byte(string(body))
		altered[i] ^= 1
		forge("sha256="+good, true, altered)
	}
	for _, header := range []string{"", good, "sha1=" + good, "sha256=", "sha256=" + sign([]byte("other"), body), "sha256=" + sign(nil, body)} {
		forge(header, true, body)
	}
	if try(source(t, ingest.Settings{}), "sha256="+good, false, body) {
		accepted++
		t.Error("without the token it is accepted")
	}
	if tried < 1200 || accepted != 0 {
		t.Errorf("%d tried, %d accepted", tried, accepted)
	}
	for _, header := range []string{good, sign([]byte("next"), body), strings.ToUpper(good)} {
		if !try(signed, "sha256="+header, false, body) {
			t.Errorf("the signature %s is refused", header)
		}
	}
	if !try(source(t, ingest.Settings{}), "", true, body) || !try(source(t, ingest.Settings{Open: true}), "", false, body) {
		t.Error("the token, or an open source, is refused")
	}
}

func TestProofs(t *testing.T) {
	t.Parallel()
	body := []byte(`{"event":"new_tag","user_id":1}`)
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write(body)
	for want, test := range map[event.Authenticity]struct {
		settings ingest.Settings
		request  ingest.Request
	}{
		event.AuthenticFull: {ingest.Settings{Secrets: [][]byte{[]byte("s3cret")}}, ingest.Request{Header: http.Header{botstar.Header: {"sha256=" + hex.EncodeToString(mac.Sum(nil))}}}},
		event.AuthenticPath: {ingest.Settings{}, ingest.Request{Token: true}},
		"":                  {ingest.Settings{Open: true}, ingest.Request{}},
	} {
		test.request.Body, test.request.At = body, now
		got, err := source(t, test.settings).Receive(t.Context(), &test.request)
		if err != nil || got.Items[0].Authenticated != want {
			t.Errorf("the proof is %+v, %v, want %q", got, err, want)
		}
	}
}

// Nobody knows what the vendor makes of a 4xx.
func TestWhatIsUnderstoodIsDone(t *testing.T) {
	t.Parallel()
	src := source(t, ingest.Settings{})
	for name, test := range map[string]struct {
		outcome ingest.Outcome
		status  int
	}{
		"stored":     {ingest.Outcome{Results: []ingest.Result{{ID: "1"}}}, 200},
		"duplicate":  {ingest.Outcome{Results: []ingest.Result{{ID: "1", Duplicate: true}}}, 200},
		"conflict":   {ingest.Outcome{Results: []ingest.Result{{ID: "1", Conflict: true}}}, 200},
		"rejected":   {ingest.Outcome{Results: []ingest.Result{{Rejected: fault.New(fault.SchemaViolation, "x")}}}, 200},
		"not proved": {ingest.Outcome{Err: ingest.Forbidden("x")}, 401},
		"away":       {ingest.Outcome{Err: fault.New(fault.BusUnavailable, "x")}, 503},
	} {
		if got := src.Answer(&ingest.Request{}, test.outcome); got.Status != test.status {
			t.Errorf("%s is answered with %d, want %d", name, got.Status, test.status)
		}
	}
}

func FuzzReceive(f *testing.F) {
	f.Add("", `{"event":"updated_user_attribute","user":{"id":"s-1","attributes":{"user_id":1}},"attribute":{"name":"a","value":[]},"timestamp":1e3}`)
	f.Add("/human_takeover_requested", `[{"user":{"id":"s"},"event":{}},null,{"bot":{"id":1},"type":"new_cms_item"}]`)
	src, err := botstar.New(ingest.Settings{Open: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path, body string) {
		request := &ingest.Request{Path: path, Body: []byte(body), At: now}
		got, err := src.Receive(t.Context(), request)
		if err != nil {
			return
		}
		again, err := src.Receive(t.Context(), request)
		if err != nil || len(again.Items) != len(got.Items) {
			t.Fatalf("the second time it gives %+v, %v", again, err)
		}
		for i, item := range got.Items {
			if item.ID != again.Items[i].ID {
				t.Errorf("the id of %s changes", item.Raw)
			}
			if item.Err == nil && (item.ID == "" || item.Trigger.Visitor.Key() == "" || item.Kind == "") {
				t.Errorf("the event %s is accepted as %+v", item.Raw, item)
			}
		}
	})
}
