package hubspot_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/standin/hubspot"
)

// rig speaks to the account by hand.
type rig struct {
	*hubspot.Standin
	t   *testing.T
	now time.Time
}

func newRig(t *testing.T, o hubspot.Options) *rig {
	t.Helper()
	r := &rig{t: t, now: time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)}
	o.Now = func() time.Time { return r.now }
	r.Standin = hubspot.New(o)
	r.Define("contacts", hubspot.Property{Name: "our_id", Label: "Our id", Type: "string", FieldType: "text", Unique: true})
	return r
}

// call returns the status and the answer.
func (r *rig) call(method, path, body string) (int, map[string]any) {
	r.t.Helper()
	status, _, answer := r.send(method, path, body, http.Header{"Authorization": {"Bearer t"}, "Content-Type": {"application/json"}})
	return status, answer
}

func (r *rig) send(method, path, body string, h http.Header) (int, http.Header, map[string]any) {
	r.t.Helper()
	request := httptest.NewRequestWithContext(r.t.Context(), method, "https://api.hubapi.com"+path, strings.NewReader(body))
	request.Header = h
	w := httptest.NewRecorder()
	r.Hosts(nil)[hubspot.Host].ServeHTTP(w, request)
	var answer map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &answer)
	return w.Code, w.Header(), answer
}

const upsert = "/crm/objects/2026-03/contacts/batch/upsert"

// input is one input of an upsert by our_id.
func input(id string, trace bool, properties ...string) string {
	var all []string
	for i := 0; i < len(properties); i += 2 {
		all = append(all, fmt.Sprintf("%q:%q", properties[i], properties[i+1]))
	}
	text := fmt.Sprintf(`{"id":%q,"idProperty":"our_id","properties":{%s}`, id, strings.Join(all, ","))
	if trace {
		text += fmt.Sprintf(`,"objectWriteTraceId":"t-%s"`, id)
	}
	return text + "}"
}

func batch(inputs ...string) string { return `{"inputs":[` + strings.Join(inputs, ",") + `]}` }

// at walks into an answer.
func at(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			l, _ := v.([]any)
			if step >= len(l) {
				return nil
			}
			v = l[step]
		}
	}
	return v
}

// count returns how many results an answer has.
func count(got map[string]any) int {
	results, _ := at(got, "results").([]any)
	return len(results)
}

// TestUpsert: made once, changed then, and told so; the traces come back.
func TestUpsert(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubspot.Options{})
	status, got := r.call("POST", upsert, batch(input("a", true, "firstname", "Ada"), input("b", false)))
	if status != 200 || at(got, "status") != "COMPLETE" || at(got, "results", 1, "new") != true || at(got, "results", 1, "objectWriteTraceId") != "t-a" {
		t.Fatalf("%d %v", status, got)
	}
	if at(got, "results", 0, "objectWriteTraceId") != nil || at(got, "results", 1, "properties", "our_id") != "a" {
		t.Errorf("%v", got)
	}
	if _, got = r.call("POST", upsert, batch(input("A", true, "lastname", "L"))); at(got, "results", 0, "new") != false {
		t.Errorf("the second time: %v", got)
	}
	writes := r.Writes("contacts")
	if len(writes) != 3 || !writes[0].Created || writes[2].Created || writes[2].Number != 3 || len(r.Calls("upsert")) != 2 || r.Calls("")[0].Inputs != 2 {
		t.Errorf("the ledger: %+v", writes)
	}
}

// TestWholeBatchFails: what fails a batch as a whole does nothing.
func TestWholeBatchFails(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range 101 {
		many = append(many, input(strconv.Itoa(i), true))
	}
	for what, body := range map[string]string{
		"a key twice":              batch(input("a", true), input("b", true), input("A", true)),
		"an unknown property":      batch(input("a", true), input("b", true, "shoe", "38")),
		"101 inputs":               batch(many...),
		"no inputs":                batch(),
		"a number as value":        `{"inputs":[{"id":"a","idProperty":"our_id","properties":{"firstname":7}}]}`,
		"an unknown field":         `{"inputs":[{"id":"a","idProperty":"our_id","associations":[]}]}`,
		"no JSON":                  `{`,
		"more behind":              batch(input("a", true)) + "x",
		"by hs_object_id":          `{"inputs":[{"id":"1","idProperty":"hs_object_id","properties":{}}]}`,
		"by nothing":               `{"inputs":[{"id":"1","properties":{}}]}`,
		"by what is not unique":    `{"inputs":[{"id":"1","idProperty":"firstname","properties":{}}]}`,
		"no id":                    `{"inputs":[{"id":"","idProperty":"our_id","properties":{}}]}`,
		"a bad one without traces": batch(input("a", true), input("b", false, "email", "x")),
	} {
		r := newRig(t, hubspot.Options{})
		status, got := r.call("POST", upsert, body)
		if status != 400 || at(got, "category") != "VALIDATION_ERROR" || at(got, "correlationId") == nil || at(got, "message") == "" || len(r.Records("contacts")) != 0 {
			t.Errorf("%s: %d %v, %d records", what, status, got, len(r.Records("contacts")))
		}
	}
}

// TestPartial: with traces, a bad input fails alone.
func TestPartial(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubspot.Options{})
	r.Define("contacts", hubspot.Property{Name: "vip", Label: "VIP", Type: "bool", FieldType: "booleancheckbox"})
	taken := r.Edit("contacts", "", map[string]string{"email": "ada@example.test", "hs_additional_emails": "old@example.test"})
	for what, test := range map[string]struct{ name, value, code string }{
		"an address":      {"email", "nobody", "INVALID_EMAIL"},
		"a number":        {"num_notes", "1", "READ_ONLY_VALUE"},
		"a time":          {"createdate", "1", "READ_ONLY_VALUE"},
		"a day":           {"date_of_birth", "1764000000001", "INVALID_DATE"},
		"a stage":         {"lifecyclestage", "Lead", "INVALID_OPTION"},
		"a boolean":       {"vip", "yes", "INVALID_BOOLEAN"},
		"a long text":     {"firstname", strings.Repeat("x", 65_537), "PROPERTY_VALUE_TOO_LONG"},
		"another's":       {"email", "Ada@example.test", "CONFLICT"},
		"another's older": {"email", "old@example.test", "CONFLICT"},
	} {
		status, got := r.call("POST", upsert, batch(input("bad", true, test.name, test.value), input("good-"+test.name, true)))
		text := fmt.Sprint(got)
		if status != 207 || at(got, "numErrors") != 1.0 || at(got, "errors", 0, "context", "objectWriteTraceId", 0) != "t-bad" || !strings.Contains(text, test.code) {
			t.Errorf("%s: %d %v", what, status, got)
		}
		if test.code == "CONFLICT" && at(got, "errors", 0, "message") != "Contact already exists. Existing ID: "+taken {
			t.Errorf("%s: %v", what, got)
		}
		if count(got) != 1 {
			t.Errorf("%s: the good one is not there", what)
		}
	}
}

// TestSparseEmail: an upsert by address that leaves something out is refused, or
// empties it.
func TestSparseEmail(t *testing.T) {
	t.Parallel()
	for _, blank := range []bool{false, true} {
		r := newRig(t, hubspot.Options{Blank: blank})
		r.Edit("contacts", "", map[string]string{"email": "ada@example.test", "firstname": "Ada", "lastname": "L"})
		status, _ := r.call("POST", upsert, `{"inputs":[{"id":"ada@example.test","idProperty":"email","properties":{"firstname":"A"},"objectWriteTraceId":"x"}]}`)
		got := r.Records("contacts")[0].Properties
		if blank && (status != 200 || got["lastname"] != "" || got["firstname"] != "A") {
			t.Errorf("%d %v", status, got)
		}
		if !blank && (status != 207 || got["firstname"] != "Ada") {
			t.Errorf("%d %v", status, got)
		}
	}
}

// TestStages: a stage that goes back is dropped in silence; cleared, it may.
func TestStages(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubspot.Options{})
	for _, step := range [][2]string{{"customer", "customer"}, {"lead", "customer"}, {"", ""}, {"lead", "lead"}} {
		status, _ := r.call("POST", upsert, batch(input("a", true, "lifecyclestage", step[0])))
		if got := r.Records("contacts")[0].Properties["lifecyclestage"]; status != 200 || got != step[1] {
			t.Errorf("%s: %d %s, want %s", step[0], status, got, step[1])
		}
	}
}

// TestUpdateAndRead: by id, by unique property, merged and deleted.
func TestUpdateAndRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubspot.Options{})
	a := r.Edit("contacts", "", map[string]string{"our_id": "a", "firstname": "Ada"})
	b := r.Edit("contacts", "", map[string]string{"our_id": "b", "email": "b@example.test"})
	const update, read = "/crm/objects/2026-03/contacts/batch/update", "/crm/objects/2026-03/contacts/batch/read"
	status, got := r.call("POST", update, `{"inputs":[{"id":"`+a+`","properties":{"firstname":"A"},"objectWriteTraceId":"1"},{"id":"9","properties":{},"objectWriteTraceId":"2"}]}`)
	if status != 207 || at(got, "errors", 0, "category") != "OBJECT_NOT_FOUND" || at(got, "errors", 0, "context", "ids", 0) != "9" {
		t.Errorf("%d %v", status, got)
	}
	if status, _ = r.call("POST", update, `{"inputs":[{"id":"b@example.test","idProperty":"email","properties":{}}]}`); status != 400 {
		t.Errorf("by address: %d", status)
	}
	status, got = r.call("POST", read, `{"properties":["firstname","phone"],"propertiesWithHistory":[],"idProperty":"our_id","inputs":[{"id":"a"},{"id":"zz"}]}`)
	properties := at(got, "results", 0, "properties")
	if status != 207 || at(properties, "firstname") != "A" || at(properties, "our_id") != nil || at(got, "errors", 0, "context", "ids", 0) != "zz" {
		t.Errorf("%d %v", status, got)
	}
	if m, _ := properties.(map[string]any); len(m) != 5 {
		t.Errorf("a property without a value is not there: %v", properties)
	}
	r.Merge(b, a)
	status, got = r.call("POST", read, `{"properties":["our_id","firstname"],"propertiesWithHistory":["firstname"],"inputs":[{"id":"`+a+`"}]}`)
	if status != 200 || at(got, "results", 0, "id") != b || at(got, "results", 0, "properties", "our_id") != "b" || at(got, "results", 0, "properties", "firstname") != "A" {
		t.Errorf("the merged one: %d %v", status, got)
	}
	r.Delete("contacts", b)
	if status, got = r.call("POST", read, `{"properties":[],"inputs":[{"id":"`+a+`"},{"id":"`+b+`"}]}`); status != 207 || count(got) != 0 {
		t.Errorf("after it was deleted: %d %v", status, got)
	}
	if status, _ = r.call("POST", read, `{"properties":[],"idProperty":"firstname","inputs":[{"id":"x"}]}`); status != 400 {
		t.Errorf("by what is not unique: %d", status)
	}
}

// TestHistory: who changed what, the newest first.
func TestHistory(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubspot.Options{App: "99"})
	r.call("POST", upsert, batch(input("a", true, "firstname", "Ada")))
	id := r.Records("contacts")[0].ID
	r.now = r.now.Add(time.Second)
	r.Edit("contacts", id, map[string]string{"firstname": "Augusta"})
	_, got := r.call("POST", "/crm/objects/2026-03/contacts/batch/read", `{"properties":[],"propertiesWithHistory":["firstname"],"inputs":[{"id":"`+id+`"}]}`)
	versions := at(got, "results", 0, "propertiesWithHistory", "firstname")
	if at(versions, 0, "value") != "Augusta" || at(versions, 0, "sourceType") != "CRM_UI" || at(versions, 1, "sourceId") != "99" {
		t.Errorf("%v", versions)
	}
	var inputs []string
	for i := range 51 {
		inputs = append(inputs, `{"id":"`+strconv.Itoa(i)+`"}`)
	}
	if status, _ := r.call("POST", "/crm/objects/2026-03/contacts/batch/read", `{"properties":[],"propertiesWithHistory":["firstname"],"inputs":[`+strings.Join(inputs, ",")+`]}`); status != 400 {
		t.Errorf("51 with their history: %d", status)
	}
}

// TestSearch: it lags, it sorts, and it has pages and an end.
func TestSearch(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubspot.Options{Lag: 5 * time.Second})
	for i := range 5 {
		r.now = r.now.Add(time.Second)
		r.Edit("contacts", "", map[string]string{"our_id": strconv.Itoa(i)})
	}
	r.Edit("contacts", "", map[string]string{"firstname": "nobody's"})
	find := func(limit, after string) (int, map[string]any) {
		return r.call("POST", "/crm/objects/2026-03/contacts/search",
			`{"filterGroups":[{"filters":[{"propertyName":"our_id","operator":"HAS_PROPERTY"},{"propertyName":"lastmodifieddate","operator":"GTE","value":"`+
				strconv.FormatInt(time.Date(2026, 11, 25, 10, 0, 2, 0, time.UTC).UnixMilli(), 10)+`"}]}],"limit":`+limit+`,"after":"`+after+`","properties":["our_id"]}`)
	}
	if _, got := find("2", ""); at(got, "total") != 0.0 {
		t.Errorf("it knows already: %v", got)
	}
	r.now = r.now.Add(4 * time.Second)
	status, got := find("2", "")
	if status != 200 || at(got, "total") != 3.0 || at(got, "results", 0, "properties", "our_id") != "1" || at(got, "paging", "next", "after") != "2" {
		t.Errorf("%d %v", status, got)
	}
	if _, got = find("2", "2"); at(got, "results", 0, "properties", "our_id") != "3" || at(got, "paging") != nil {
		t.Errorf("the second page: %v", got)
	}
	for _, bad := range [][2]string{{"0", ""}, {"201", ""}, {"200", "9900"}} {
		if status, _ := find(bad[0], bad[1]); status != 400 {
			t.Errorf("%v: %d", bad, status)
		}
	}
}

// TestProperties: made explicitly, with a group, unique or not for ever.
func TestProperties(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubspot.Options{})
	const path = "/crm/properties/2026-03/contacts"
	good := `{"name":"x_id","label":"X","type":"string","fieldType":"text","groupName":"ours","hasUniqueValue":true}`
	if status, _ := r.call("POST", path, good); status != 400 {
		t.Errorf("without the group: %d", status)
	}
	for _, test := range []struct {
		path, body string
		status     int
	}{
		{path + "/groups", `{"name":"ours","label":"Ours"}`, 201},
		{path + "/groups", `{"name":"ours","label":"Ours"}`, 409},
		{path + "/groups", `{"name":"Ours!","label":""}`, 400},
		{path, good, 201},
		{path, good, 409},
		{path, `{"name":"X","label":"X","type":"string","fieldType":"text","groupName":"ours"}`, 400},
		{path, `{"name":"y","label":"X","type":"string","fieldType":"number","groupName":"ours"}`, 400},
		{path, `{"name":"y","label":"X","type":"bool","fieldType":"booleancheckbox","groupName":"ours","hasUniqueValue":true}`, 400},
		{"/crm/properties/2026-03/llamas", good, 404},
		{"/crm/properties/v3/contacts", good, 404},
	} {
		if status, got := r.call("POST", test.path, test.body); status != test.status {
			t.Errorf("%s %s: %d %v, want %d", test.path, test.body, status, got, test.status)
		}
	}
	for i := range 8 {
		r.call("POST", path, strings.ReplaceAll(good, "x_id", "x_id"+strconv.Itoa(i)))
	}
	if status, _ := r.call("POST", path, strings.ReplaceAll(good, "x_id", "one_more")); status != 400 {
		t.Errorf("the eleventh unique property: %d", status)
	}
	status, got := r.call("GET", path, "")
	if results, _ := at(got, "results").([]any); status != 200 || len(results) < 20 {
		t.Errorf("%d %v", status, got)
	}
}

// TestActivities: what a note needs, whose it is, and events that never change.
func TestActivities(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubspot.Options{Events: map[string][]string{"chat": {"text"}}})
	r.Define("notes", hubspot.Property{Name: "our_id", Label: "Our id", Type: "string", FieldType: "text", Unique: true})
	owner := r.Edit("contacts", "", map[string]string{"our_id": "a"})
	const notes = "/crm/objects/2026-03/notes/batch/upsert"
	if status, got := r.call("POST", notes, batch(input("n", true, "hs_note_body", "x"))); status != 207 || !strings.Contains(fmt.Sprint(got), "REQUIRED_PROPERTY_MISSING") {
		t.Errorf("without a time: %d %v", status, got)
	}
	_, got := r.call("POST", notes, batch(input("n", true, "hs_note_body", "x", "hs_timestamp", "1764000000000")))
	note, _ := at(got, "results", 0, "id").(string)
	const tie = "/crm/associations/2026-03/notes/contacts/batch/associate/default"
	for range 2 {
		if status, _ := r.call("POST", tie, `{"inputs":[{"from":{"id":"`+note+`"},"to":{"id":"`+owner+`"}}]}`); status != 200 {
			t.Errorf("%d", status)
		}
	}
	if status, got := r.call("POST", tie, `{"inputs":[{"from":{"id":"`+note+`"},"to":{"id":"9"}}]}`); status != 207 || at(got, "errors", 0, "context", "fromObjectId", 0) != note {
		t.Errorf("%d %v", status, got)
	}
	if got := r.Records("notes"); len(got) != 1 || len(got[0].Ties) != 1 {
		t.Errorf("%v", got)
	}
	event := `{"eventTypeName":"chat","id":"e","objectId":"` + owner + `","properties":{"text":"x"},"timestamp":"2026-11-25T10:00:00Z"}`
	for _, test := range []struct {
		body   string
		status int
	}{
		{event, 201},
		{event, 409},
		{strings.Replace(event, `"chat"`, `"other"`, 1), 400},
		{strings.Replace(event, `"text"`, `"title"`, 1), 400},
		{strings.Replace(event, owner, "9", 1), 404},
		{strings.Replace(event, `"e"`, `""`, 1), 400},
	} {
		if status, got := r.call("POST", "/integrators/timeline/2026-03/events", test.body); status != test.status {
			t.Errorf("%s: %d %v, want %d", test.body, status, got, test.status)
		}
	}
	if len(r.Events()) != 1 || len(r.Writes("events")) != 1 {
		t.Errorf("%v", r.Events())
	}
}

// TestMergeAndErase: a merge keeps what the first one lacks; who was erased does
// not come back.
func TestMergeAndErase(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubspot.Options{})
	a := r.Edit("contacts", "", map[string]string{"email": "a@example.test"})
	b := r.Edit("contacts", "", map[string]string{"email": "b@example.test", "our_id": "b", "phone": "1"})
	merge := func(into, from string) int {
		status, _ := r.call("POST", "/crm/objects/2026-03/contacts/merge", `{"primaryObjectId":"`+into+`","objectIdToMerge":"`+from+`"}`)
		return status
	}
	if merge(a, "9") != 404 || merge(a, b) != 200 || merge(a, b) != 400 {
		t.Error("the merges")
	}
	wanted := map[string]string{"email": "a@example.test", "hs_additional_emails": "b@example.test", "our_id": "b", "phone": "1"}
	if diff := cmp.Diff(wanted, r.Records("contacts")[0].Properties); diff != "" {
		t.Error(diff)
	}
	for _, wanted := range []int{204, 404} {
		if status, _ := r.call("POST", "/crm/objects/2026-03/contacts/gdpr-delete", `{"objectId":"b@example.test","idProperty":"email"}`); status != wanted {
			t.Errorf("%d, want %d", status, wanted)
		}
	}
	if status, got := r.call("POST", upsert, batch(input("a", true, "email", "a@example.test"))); status != 207 || !strings.Contains(fmt.Sprint(got), "CONTACT_BLOCKED") {
		t.Errorf("%d %v", status, got)
	}
}

// TestLimits: a rolling window with headers, a day, and the search by itself.
func TestLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubspot.Options{Limit: 3, Daily: 5, SearchLimit: 1})
	header := http.Header{"Authorization": {"Bearer t"}, "Content-Type": {"application/json"}}
	call := func() (int, http.Header, map[string]any) {
		return r.send("GET", "/crm/properties/2026-03/contacts", "", header)
	}
	for left := 2; left >= 0; left-- {
		r.now = r.now.Add(time.Second)
		if status, h, _ := call(); status != 200 || h.Get("X-HubSpot-RateLimit-Remaining") != strconv.Itoa(left) || h.Get("X-HubSpot-RateLimit-Max") != "3" {
			t.Errorf("%d %v", status, h)
		}
	}
	status, h, got := call()
	if status != 429 || at(got, "policyName") != "TEN_SECONDLY_ROLLING" || at(got, "errorType") != "RATE_LIMIT" || h.Get("Retry-After") != "" || h.Get("X-HubSpot-RateLimit-Interval-Milliseconds") != "10000" {
		t.Errorf("%d %v %v", status, h, got)
	}
	for _, wanted := range []int{200, 429} { // It has its own limit, and no headers.
		status, h, got := r.send("POST", "/crm/objects/2026-03/contacts/search", `{"filterGroups":[],"limit":1}`, header)
		if status != wanted || h.Get("X-HubSpot-RateLimit-Max") != "" || wanted == 429 && at(got, "policyName") != "SECONDLY" {
			t.Errorf("the search: %d %v %v", status, h, got)
		}
	}
	r.now = r.now.Add(8500 * time.Millisecond) // The first one has left the window.
	if status, _, _ = call(); status != 200 {
		t.Errorf("in the next window: %d", status)
	}
	r.now = r.now.Add(11 * time.Second)
	call()
	if status, h, got = call(); status != 429 || at(got, "policyName") != "DAILY" || h.Get("X-HubSpot-RateLimit-Daily-Remaining") != "0" {
		t.Errorf("at the end of the day: %d %v %v", status, h, got)
	}
	r.now = r.now.Add(24 * time.Hour)
	if status, _, _ = call(); status != 200 {
		t.Errorf("the next day: %d", status)
	}
}

// TestAuth: tokens are judged by somebody else, who may share the host.
func TestAuth(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubspot.Options{Auth: func(token string) hubspot.Standing {
		switch token {
		case "good":
			return hubspot.Good
		case "old":
			return hubspot.Expired
		}
		return hubspot.Unknown
	}})
	for bearer, test := range map[string]struct {
		status   int
		category any
	}{
		"Bearer good": {200, nil}, "Bearer old": {401, "EXPIRED_AUTHENTICATION"}, "Bearer x": {401, "INVALID_AUTHENTICATION"}, "good": {401, "INVALID_AUTHENTICATION"},
	} {
		status, _, got := r.send("GET", "/crm/properties/2026-03/contacts", "", http.Header{"Authorization": {bearer}})
		if status != test.status || at(got, "category") != test.category {
			t.Errorf("%s: %d %v", bearer, status, got)
		}
	}
	other := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for path, wanted := range map[string]int{"/oauth/2026-03/token": 418, "/crm/properties/2026-03/contacts": 401} {
		w := httptest.NewRecorder()
		hosts := r.Hosts(map[string]http.Handler{hubspot.Host: other, "app.hubspot.com": other})
		hosts[hubspot.Host].ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "https://api.hubapi.com"+path, nil))
		if w.Code != wanted || len(hosts) != 2 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if status, _, got := r.send("GET", "/contacts/v1/contact/batch", "", nil); status != 404 || r.Count("none") != 1 {
		t.Errorf("%d %v", status, got)
	}
	if status, _, _ := r.send("POST", upsert, batch(input("a", true)), http.Header{"Authorization": {"Bearer good"}}); status != 415 {
		t.Errorf("without a type: %d", status)
	}
}

// TestFaults: each switch does what it says, and the ledger tells whether the
// work was done.
func TestFaults(t *testing.T) {
	t.Parallel()
	body := batch(input("a", true), input("b", true), input("c", true), input("d", true))
	for what, test := range map[string]struct {
		fault        hubspot.Fault
		status, done int
	}{
		"none":       {hubspot.Fault{}, 200, 4},
		"refused":    {hubspot.Fault{Status: 503}, 503, 0},
		"limited":    {hubspot.Fault{Status: 429, Policy: "DAILY"}, 429, 0},
		"moving":     {hubspot.Fault{Status: 477, RetryAfter: "9"}, 477, 0},
		"late":       {hubspot.Fault{Late: 502}, 502, 4},
		"empty":      {hubspot.Fault{Empty: true}, 200, 0},
		"a page":     {hubspot.Fault{Page: true}, 403, 0},
		"garbage":    {hubspot.Fault{Garbage: "x"}, 200, 4},
		"cut":        {hubspot.Fault{Cut: true}, 200, 4},
		"all fail":   {hubspot.Fault{Partial: 1}, 207, 0},
		"delay":      {hubspot.Fault{Delay: time.Millisecond}, 200, 4},
		"mute":       {hubspot.Fault{Mute: true}, 200, 4},
		"whole, bad": {hubspot.Fault{Whole: true}, 200, 4},
	} {
		r := newRig(t, hubspot.Options{})
		r.Set(hubspot.Faults{Plan: map[string][]hubspot.Fault{"upsert": {test.fault}}})
		status, _ := r.call("POST", upsert, body)
		if status != test.status || len(r.Writes("contacts")) != test.done {
			t.Errorf("%s: %d, %d done", what, status, len(r.Writes("contacts")))
		}
		if got := r.Calls("upsert"); len(got) != 1 || (got[0].Fault == "") != (what == "none") {
			t.Errorf("%s: %+v", what, got)
		}
		if status, _ = r.call("POST", upsert, body); status != 200 {
			t.Errorf("%s: the next one: %d", what, status)
		}
	}
	r := newRig(t, hubspot.Options{})
	r.Set(hubspot.Faults{Plan: map[string][]hubspot.Fault{"upsert": {{Whole: true}}}})
	if status, _ := r.call("POST", upsert, batch(input("a", true), input("b", true, "email", "x"))); status != 400 || len(r.Records("contacts")) != 0 {
		t.Errorf("a bad one fails the whole: %d", status)
	}
	r.Set(hubspot.Faults{Seed: 1, Shares: []hubspot.Share{{Share: 0.3, Operation: "upsert", Fault: hubspot.Fault{Status: 500}}}})
	failed := 0
	for range 1000 {
		if status, _ := r.call("POST", upsert, batch(input("a", true))); status == 500 {
			failed++
		}
	}
	if failed < 250 || failed > 350 {
		t.Errorf("%d of 1000 failed", failed)
	}
}

// TestSilence: a call without an answer ends with its caller; the work is done or
// it is not.
func TestSilence(t *testing.T) {
	t.Parallel()
	for done, f := range map[int]hubspot.Fault{0: {Silent: true}, 1: {Lost: true}} {
		r := newRig(t, hubspot.Options{})
		r.Set(hubspot.Faults{Plan: map[string][]hubspot.Fault{"upsert": {f}}})
		server := httptest.NewServer(r.Hosts(nil)[hubspot.Host])
		client := server.Client()
		client.Timeout = 100 * time.Millisecond
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+upsert, strings.NewReader(batch(input("a", true))))
		if err != nil {
			t.Fatal(err)
		}
		request.Header = http.Header{"Authorization": {"Bearer t"}, "Content-Type": {"application/json"}}
		response, err := client.Do(request)
		if err == nil {
			_ = response.Body.Close()
			t.Error("there was an answer")
		}
		server.Close()
		if len(r.Writes("contacts")) != done {
			t.Errorf("%+v: %d done", f, len(r.Writes("contacts")))
		}
	}
}
