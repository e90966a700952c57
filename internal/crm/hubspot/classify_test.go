package hubspot

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// fixture is an answer as HubSpot gives it, and what it means.
type fixture struct {
	name   string
	status int
	header map[string]string
	body   string
	read   bool
	reason fault.Reason
	after  time.Duration
	field  string
}

func fixtures() []fixture {
	return []fixture{
		{name: "rolling limit", status: 429, body: `{"status":"error","message":"You have reached your ten_secondly_rolling limit.","errorType":"RATE_LIMIT","correlationId":"1f5bd0ef-9d8e-4b43-b0a6-3aa0d4c0ffd6","policyName":"TEN_SECONDLY_ROLLING","groupName":"publicapi:oauth:1","requestId":"x"}`, reason: fault.RateLimited, after: 10 * time.Second},
		{name: "search limit", status: 429, body: `{"status":"error","message":"You have reached your secondly limit.","policyName":"SECONDLY"}`, read: true, reason: fault.RateLimited, after: time.Second},
		{name: "search limit without a name", status: 429, body: `{"message":"You have reached your secondly limit."}`, reason: fault.RateLimited, after: time.Second},
		{name: "daily limit", status: 429, body: `{"message":"You have reached your daily limit.","policyName":"DAILY"}`, reason: fault.RateLimited, after: time.Hour},
		{name: "daily limit without a name", status: 429, body: `{"message":"You have reached your daily limit."}`, reason: fault.RateLimited, after: time.Hour},
		{name: "limit with Retry-After", status: 429, header: map[string]string{"Retry-After": "3"}, body: `{"policyName":"DAILY"}`, reason: fault.RateLimited, after: 3 * time.Second},
		{name: "limit with an interval", status: 429, header: map[string]string{headInterval: "4000"}, body: `{}`, reason: fault.RateLimited, after: 4 * time.Second},
		{name: "limit and nothing else", status: 429, body: `<html>`, reason: fault.RateLimited, after: 10 * time.Second},
		{name: "locked", status: 423, reason: fault.VendorUnavailable, after: 2 * time.Second},
		{name: "moving", status: 477, reason: fault.VendorUnavailable, after: time.Minute},
		{name: "moving for long", status: 477, header: map[string]string{"Retry-After": "86400"}, reason: fault.VendorUnavailable, after: 24 * time.Hour},
		{name: "wait for ever", status: 477, header: map[string]string{"Retry-After": "999999999"}, reason: fault.VendorUnavailable, after: 24 * time.Hour},
		{name: "500 after a write", status: 500, body: `{"status":"error","message":"internal error","category":"INTERNAL_ERROR"}`, reason: fault.EffectUnknown, after: afterFailure},
		{name: "500 after a read", status: 500, read: true, reason: fault.VendorUnavailable, after: afterFailure},
		{name: "bad gateway", status: 502, reason: fault.EffectUnknown, after: afterFailure},
		{name: "unavailable", status: 503, reason: fault.VendorUnavailable, after: afterFailure},
		{name: "unavailable until", status: 503, header: map[string]string{"Retry-After": "7"}, reason: fault.VendorUnavailable, after: 7 * time.Second},
		{name: "gateway timeout", status: 504, reason: fault.EffectUnknown, after: afterFailure},
		{name: "unknown error of the edge", status: 520, reason: fault.EffectUnknown, after: afterFailure},
		{name: "server down", status: 521, reason: fault.VendorUnavailable, after: afterFailure},
		{name: "no connection", status: 522, reason: fault.VendorUnavailable, after: afterFailure},
		{name: "unreachable", status: 523, reason: fault.VendorUnavailable, after: afterFailure},
		{name: "timeout of the edge", status: 524, reason: fault.EffectUnknown, after: afterFailure},
		{name: "timeout of the edge, a read", status: 524, read: true, reason: fault.VendorUnavailable, after: afterFailure},
		{name: "no token", status: 401, body: `{"status":"error","message":"Authentication credentials not found.","category":"INVALID_AUTHENTICATION"}`, reason: fault.TokenRefused},
		{name: "missing scopes", status: 403, body: `{"status":"error","message":"This app hasn't been granted all required scopes.","category":"MISSING_SCOPES"}`, reason: fault.VendorForbids},
		{name: "a guard's page", status: 403, header: map[string]string{"Content-Type": "text/html"}, body: `<html>`, reason: fault.VendorUnavailable, after: time.Minute},
		{name: "not found", status: 404, reason: fault.VendorNotFound},
		{name: "conflict", status: 409, body: `{"status":"error","message":"Contact already exists. Existing ID: 37765128953","category":"CONFLICT"}`, reason: fault.VendorConflict},
		{name: "unknown property", status: 400, body: `{"status":"error","message":"Property values were not valid: [{\"isValid\":false,\"message\":\"Property \\\"shoe\\\" does not exist\",\"error\":\"PROPERTY_DOESNT_EXIST\",\"name\":\"shoe\"}]","category":"VALIDATION_ERROR"}`, reason: fault.VendorRejects, field: "/shoe"},
		{name: "too large", status: 413, reason: fault.VendorRejects},
		{name: "a redirect", status: 302, reason: fault.VendorAnswerInvalid, after: afterFailure},
		{name: "nothing that can be read", status: 400, body: `{"message":7,"errors":"x"}`, reason: fault.VendorRejects},
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for _, test := range fixtures() {
		h := http.Header{}
		for name, value := range test.header {
			h.Set(name, value)
		}
		p := &problem{}
		_ = json.Unmarshal([]byte(test.body), p)
		e := classify(test.status, h, p, "contacts/batch/upsert", !test.read)
		if e.Reason != test.reason || e.After != test.after || e.Field != test.field {
			t.Errorf("%s: %s after %s at %q, want %s after %s at %q", test.name, e.Reason, e.After, e.Field, test.reason, test.after, test.field)
		}
		if e.Fix == "" {
			t.Errorf("%s: no fix", test.name)
		}
	}
}

// TestOfRecord: what the error of one record of a batch means.
func TestOfRecord(t *testing.T) {
	t.Parallel()
	for body, reason := range map[string]fault.Reason{
		`{"category":"VALIDATION_ERROR"}`:                                                     fault.VendorRejects,
		`{"category":"OBJECT_NOT_FOUND"}`:                                                     fault.VendorNotFound,
		`{"category":"CONFLICT","message":"Existing ID: 12"}`:                                 fault.VendorConflict,
		`{"category":"VALIDATION_ERROR","errors":[{"code":"CONFLICTING_UNIQUE_VALUE"}]}`:      fault.VendorConflict,
		`{"category":"VALIDATION_ERROR","message":"Contact already exists. Existing ID: 12"}`: fault.VendorConflict,
		`{"category":"RATE_LIMITS"}`:                                                          fault.RateLimited,
		`{"category":"INTERNAL_ERROR"}`:                                                       fault.VendorUnavailable,
		`{"category":"MISSING_SCOPES"}`:                                                       fault.VendorForbids,
		`{}`:                                                                                  fault.VendorRejects,
		`{"category":"VALIDATION_ERROR","message":"x [{\"error\":\"INVALID_EMAIL\",\"name\":\"email\",\"value\":1}]"}`: fault.VendorRejects,
	} {
		p := &problem{}
		if err := json.Unmarshal([]byte(body), p); err != nil {
			t.Fatal(err)
		}
		if e := p.ofRecord("x"); e.Reason != reason {
			t.Errorf("%s: %s, want %s", body, e.Reason, reason)
		}
	}
}

// TestSaid: codes and names of properties are repeated, and no free text.
func TestSaid(t *testing.T) {
	t.Parallel()
	p := &problem{
		Message: `Email address ada@example.test is invalid [{"error":"INVALID_EMAIL","name":"email"}]`, Category: "VALIDATION_ERROR",
		Correlation: "not an id", Errors: []detail{{Code: "ada@example.test", In: "Ada Lovelace"}},
	}
	if got, want := p.said(), "VALIDATION_ERROR, INVALID_EMAIL of the property email"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestJoin: results and errors are joined by trace, id or key, never by place.
func TestJoin(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	inputs := []input{
		{ID: "ka", IDProperty: "parley_key", Trace: "ka"}, {ID: "kb", IDProperty: "parley_key", Trace: "kb"}, {ID: "77", Trace: "kc"}, {ID: "kd", IDProperty: "parley_key", Trace: "kd"},
	}
	got := join("x", inputs, answer{
		Results: []object{{ID: "77"}, {ID: "2", Properties: map[string]*string{"parley_key": text("kb")}}, {ID: "9", Trace: "stranger"}},
		Errors:  []problem{{Category: "VALIDATION_ERROR", Context: map[string][]string{"objectWriteTraceId": {"ka"}}}, {Category: "CONFLICT", Message: "Existing ID: 5"}},
	})
	if got["ka"].err == nil || got["kb"].object.ID != "2" || got["kc"].object.ID != "77" || got["kd"].err == nil || got["kd"].problem.existing() != "5" || len(got) != 4 {
		t.Errorf("%+v", got)
	}
	// With two that nothing was said of, an error about nobody tells nothing.
	got = join("x", inputs, answer{Results: []object{{ID: "77"}}, Errors: []problem{{Category: "CONFLICT"}}})
	if len(got) != 1 {
		t.Errorf("%+v", got)
	}
}
