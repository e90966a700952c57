package salesforce_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/standin/salesforce"
)

const data = "/services/data/v62.0"

// ask sends a request, and returns the status and the answer.
func ask(t *testing.T, org *salesforce.Org, method, path, body string, head ...string) (int, string, http.Header) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer good")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	w := httptest.NewRecorder()
	org.ServeHTTP(w, r)
	text, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(text), w.Header()
}

func newOrg(o salesforce.Options) *salesforce.Org {
	o.Valid = func(token string) bool { return token == "good" }
	org := salesforce.New(o)
	org.AddFields("Contact", salesforce.Field{Name: "K__c", Type: "string", Length: 20, ExternalID: true, Unique: true}, salesforce.Field{Name: "N__c", Type: "double"})
	org.AddFields("Task", salesforce.Field{Name: "K__c", Type: "string", Length: 20, ExternalID: true, Unique: true})
	org.AddEvent("Chat__e", salesforce.Field{Name: "K__c", Type: "string", Required: true})
	return org
}

// TestStrict: what Salesforce refuses is refused, with its codes.
func TestStrict(t *testing.T) {
	t.Parallel()
	many := `{"records":[` + strings.Repeat(`{"attributes":{"type":"Contact"},"K__c":"x"},`, 200) + `{"attributes":{"type":"Contact"},"K__c":"x"}]}`
	for what, test := range map[string]struct {
		method, path, body string
		status             int
		says               string
	}{
		"unknown path":       {http.MethodGet, "/services/data/v62.0/nothing", "", 404, "NOT_FOUND"},
		"no version":         {http.MethodGet, "/services/data/limits", "", 404, "NOT_FOUND"},
		"unknown object":     {http.MethodGet, data + "/sobjects/Nothing/describe", "", 404, "NOT_FOUND"},
		"no external id":     {http.MethodPatch, data + "/sobjects/Contact/Email/x", `{}`, 404, "external ID field"},
		"unknown field":      {http.MethodPatch, data + "/sobjects/Contact/K__c/x", `{"X__c":1}`, 400, "INVALID_FIELD"},
		"key in the body":    {http.MethodPatch, data + "/sobjects/Contact/K__c/x", `{"K__c":"x"}`, 400, "should not be specified"},
		"wrong type":         {http.MethodPatch, data + "/sobjects/Contact/K__c/x", `{"LastName":"L","N__c":"1"}`, 400, "JSON_PARSER_ERROR"},
		"no JSON":            {http.MethodPatch, data + "/sobjects/Contact/K__c/x", `{`, 400, "JSON_PARSER_ERROR"},
		"two values":         {http.MethodPatch, data + "/sobjects/Contact/K__c/x", `{} {}`, 400, "JSON_PARSER_ERROR"},
		"nothing required":   {http.MethodPatch, data + "/sobjects/Contact/K__c/x", `{}`, 400, "REQUIRED_FIELD_MISSING"},
		"too long":           {http.MethodPatch, data + "/sobjects/Contact/K__c/x", `{"LastName":"` + strings.Repeat("x", 81) + `"}`, 400, "STRING_TOO_LONG"},
		"no address":         {http.MethodPatch, data + "/sobjects/Contact/K__c/x", `{"LastName":"L","Email":"x"}`, 400, "INVALID_EMAIL_ADDRESS"},
		"read only":          {http.MethodPatch, data + "/sobjects/Contact/K__c/x", `{"LastName":"L","CreatedDate":"2026-11-25T10:00:00.000Z"}`, 400, "INVALID_FIELD_FOR_INSERT_UPDATE"},
		"no update":          {http.MethodPatch, data + "/sobjects/Contact/K__c/x?updateOnly=true", `{"LastName":"L"}`, 404, "NOT_FOUND"},
		"no such record":     {http.MethodPatch, data + "/sobjects/Contact/003000000000999AAA", `{"LastName":"L"}`, 404, "ENTITY_IS_DELETED"},
		"no reference":       {http.MethodPatch, data + "/sobjects/Task/K__c/x", `{"WhoId":"003000000000999AAA"}`, 400, "INVALID_CROSS_REFERENCE_KEY"},
		"no id":              {http.MethodPatch, data + "/sobjects/Task/K__c/x", `{"WhoId":"12"}`, 400, "MALFORMED_ID"},
		"not on the list":    {http.MethodPatch, data + "/sobjects/Task/K__c/x", `{"Status":"Perhaps"}`, 400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"},
		"201 records":        {http.MethodPatch, data + "/composite/sobjects/Contact/K__c", many, 400, "record limit"},
		"no records":         {http.MethodPatch, data + "/composite/sobjects/Contact/K__c", `{"records":[]}`, 400, "REQUIRED_FIELD_MISSING"},
		"another type":       {http.MethodPatch, data + "/composite/sobjects/Contact/K__c", `{"records":[{"attributes":{"type":"Lead"},"K__c":"x"}]}`, 400, "INVALID_INPUT"},
		"event incomplete":   {http.MethodPost, data + "/sobjects/Chat__e", `{}`, 400, "REQUIRED_FIELD_MISSING"},
		"no query":           {http.MethodGet, data + "/query?q=" + url.QueryEscape("DELETE FROM Contact"), "", 400, "MALFORMED_QUERY"},
		"unknown column":     {http.MethodGet, data + "/query?q=" + url.QueryEscape("SELECT X__c FROM Contact"), "", 400, "INVALID_FIELD"},
		"all without limit":  {http.MethodGet, data + "/query?q=" + url.QueryEscape("SELECT FIELDS(ALL) FROM Contact"), "", 400, "MALFORMED_QUERY"},
		"broken literal":     {http.MethodGet, data + "/query?q=" + url.QueryEscape(`SELECT Id FROM Contact WHERE K__c = 'a'b'`), "", 400, "MALFORMED_QUERY"},
		"a time in quotes":   {http.MethodGet, data + "/query?q=" + url.QueryEscape(`SELECT Id FROM Contact WHERE SystemModstamp > '2026-11-25T10:00:00Z'`), "", 400, "INVALID_FIELD"},
		"a text as a time":   {http.MethodGet, data + "/query?q=" + url.QueryEscape(`SELECT Id FROM Contact WHERE K__c > 2026-11-25T10:00:00Z`), "", 400, "INVALID_FIELD"},
		"no time":            {http.MethodGet, data + "/query?q=" + url.QueryEscape(`SELECT Id FROM Contact WHERE SystemModstamp > 2026-13-25T10:00:00Z`), "", 400, "MALFORMED_QUERY"},
		"an unknown order":   {http.MethodGet, data + "/query?q=" + url.QueryEscape(`SELECT Id FROM Contact ORDER BY X__c LIMIT 5`), "", 400, "INVALID_FIELD"},
		"address too long":   {http.MethodGet, data + "/query?q=" + strings.Repeat("x", 17_000), "", 414, "too long"},
		"nothing to destroy": {http.MethodDelete, data + "/composite/sobjects?ids=", "", 400, "EXCEEDED_ID_LIMIT"},
	} {
		org := newOrg(salesforce.Options{})
		status, text, _ := ask(t, org, test.method, test.path, test.body)
		if status != test.status || !strings.Contains(text, test.says) {
			t.Errorf("%s: %d %s, want %d %s", what, status, text, test.status, test.says)
		}
		if org.Effects("Contact", salesforce.Created)+org.Effects("Task", salesforce.Created)+len(org.Events()) != 0 {
			t.Errorf("%s: something was made", what)
		}
		if status != http.StatusRequestURITooLong {
			var all []map[string]any
			if json.Unmarshal([]byte(text), &all) != nil || len(all) != 1 || all[0]["errorCode"] == nil {
				t.Errorf("%s: the error is no list: %s", what, text)
			}
		}
	}
}

// TestCollection: answered in order, one by one; a key twice is refused once.
func TestCollection(t *testing.T) {
	t.Parallel()
	org := newOrg(salesforce.Options{})
	record := func(fields string) string { return `{"attributes":{"type":"Contact"},` + fields + `}` }
	body := `{"allOrNone":false,"records":[` + strings.Join([]string{
		record(`"K__c":"a","LastName":"A"`), record(`"K__c":"b"`), record(`"LastName":"C"`), record(`"K__c":"a","LastName":"D"`), record(`"K__c":"e","LastName":"E","Id":"003"`),
	}, ",") + `]}`
	status, text, _ := ask(t, org, http.MethodPatch, data+"/composite/sobjects/Contact/K__c", body)
	var got []struct {
		Success, Created bool
		ID               string
		Errors           []struct{ StatusCode string }
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil || status != 200 || len(got) != 5 {
		t.Fatalf("%d %s", status, text)
	}
	for i, code := range []string{"", "REQUIRED_FIELD_MISSING", "MISSING_ARGUMENT", "DUPLICATE_VALUE", "INVALID_ARGUMENT"} {
		if got[i].Success != (code == "") || code != "" && got[i].Errors[0].StatusCode != code {
			t.Errorf("%d: %+v, want %s", i, got[i], code)
		}
	}
	// By id; the first is there, the second is not, the third comes twice.
	id := org.Records("Contact")[0].ID()
	body = `{"allOrNone":false,"records":[` + record(`"id":"`+id+`","N__c":2`) + `,` + record(`"id":"003000000000999AAA"`) + `,` + record(`"id":"`+id+`"`) + `,` + record(`"id":"1"`) + `]}`
	_, text, _ = ask(t, org, http.MethodPatch, data+"/composite/sobjects", body)
	for _, code := range []string{"ENTITY_IS_DELETED", "Duplicate id", "MALFORMED_ID"} {
		if !strings.Contains(text, code) {
			t.Errorf("no %s in %s", code, text)
		}
	}
	if org.Effects("Contact", salesforce.Created) != 1 || org.Effects("Contact", salesforce.Changed) != 1 || org.Records("Contact")[0]["N__c"] != 2.0 {
		t.Errorf("%v", org.Records("Contact"))
	}
}

// TestOne: 201, 200 or 204, and 300.
func TestOne(t *testing.T) {
	t.Parallel()
	for _, old := range []bool{false, true} {
		org := newOrg(salesforce.Options{Old: old})
		var statuses []int
		for range 2 {
			status, _, _ := ask(t, org, http.MethodPatch, data+"/sobjects/Contact/K__c/a", `{"LastName":"A"}`)
			statuses = append(statuses, status)
		}
		org.Add("Contact", salesforce.Record{"LastName": "B", "K__c": "A"})
		status, text, _ := ask(t, org, http.MethodPatch, data+"/sobjects/Contact/K__c/a", `{"LastName":"A"}`)
		want := map[bool]int{false: 200, true: 204}[old]
		if statuses[0] != 201 || statuses[1] != want || status != 300 || !strings.HasPrefix(text, `["/services`) {
			t.Errorf("%v, %d %s", statuses, status, text)
		}
	}
}

// TestRules: the org's own rules, and the day's calls.
func TestRules(t *testing.T) {
	t.Parallel()
	org := newOrg(salesforce.Options{DuplicateRule: true, Fence: "N__c", Limit: 7})
	put := func(key, body string, head ...string) string {
		t.Helper()
		_, text, h := ask(t, org, http.MethodPatch, data+"/sobjects/Contact/K__c/"+key, body, head...)
		if !strings.HasPrefix(h.Get("Sforce-Limit-Info"), "api-usage=") || !strings.HasSuffix(h.Get("Sforce-Limit-Info"), "/7") {
			t.Errorf("the header is %q", h.Get("Sforce-Limit-Info"))
		}
		return text
	}
	for i, test := range []struct{ key, body, says string }{
		{"a", `{"LastName":"A","Email":"a@example.test","N__c":5}`, "true"},
		{"b", `{"LastName":"B","Email":"A@example.test"}`, "DUPLICATES_DETECTED"},
		{"a", `{"N__c":4}`, "FIELD_CUSTOM_VALIDATION_EXCEPTION"},
		{"a", `{"N__c":5}`, "true"},
	} {
		if text := put(test.key, test.body); !strings.Contains(text, test.says) {
			t.Errorf("%d: %s", i, text)
		}
	}
	if text := put("b", `{"LastName":"B","Email":"A@example.test"}`, "Sforce-Duplicate-Rule-Header", "allowSave=true"); !strings.Contains(text, "true") {
		t.Error(text)
	}
	org.Put("Contact", org.Records("Contact")[0].ID(), salesforce.Record{"K__c": "z"})
	if status, text, _ := ask(t, org, http.MethodGet, data+"/query?q="+url.QueryEscape(`SELECT Id FROM Contact WHERE K__c IN ('z','it\'s') AND N__c != null`), ""); status != 200 || !strings.Contains(text, `"totalSize":1`) {
		t.Errorf("%d %s", status, text)
	}
	put("c", `{"LastName":"C"}`)
	if text := put("d", `{"LastName":"D"}`); !strings.Contains(text, "REQUEST_LIMIT_EXCEEDED") {
		t.Error(text)
	}
}

// TestFaults: what a fault leaves done, and what is answered.
func TestFaults(t *testing.T) {
	t.Parallel()
	for kind, test := range map[salesforce.Kind]struct {
		status, made int
		says         string
	}{
		salesforce.None: {201, 1, "true"}, salesforce.Lost: {201, 1, ""}, salesforce.Late: {500, 1, "UNKNOWN_EXCEPTION"},
		salesforce.Down: {503, 0, "SERVER_UNAVAILABLE"}, salesforce.Expired: {401, 0, "INVALID_SESSION_ID"}, salesforce.Quota: {403, 0, "TotalRequests"},
		salesforce.Crowded: {403, 0, "ConcurrentRequests"}, salesforce.Locked: {400, 0, "UNABLE_TO_LOCK_ROW"}, salesforce.RowLock: {400, 0, "UNABLE_TO_LOCK_ROW"},
	} {
		org := newOrg(salesforce.Options{})
		org.Set(salesforce.Faults{Plan: []salesforce.Kind{kind}, Echo: true})
		status, text, _ := ask(t, org, http.MethodPatch, data+"/sobjects/Contact/K__c/a", `{"LastName":"A"}`)
		if status != test.status || org.Effects("Contact", salesforce.Created) != test.made || !strings.Contains(text, test.says) || org.Spoiled(kind) != 1 {
			t.Errorf("%s: %d %s, %d made", kind, status, text, org.Effects("Contact", salesforce.Created))
		}
		if status >= 400 && !strings.Contains(text, "good ") {
			t.Errorf("%s: the token is not repeated: %s", kind, text)
		}
		if kind == salesforce.Lost && json.Valid([]byte(text)) {
			t.Errorf("the answer is whole: %s", text)
		}
	}
}
