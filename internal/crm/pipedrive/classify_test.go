package pipedrive

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// TestClassify is the table of what Pipedrive's answers mean.
func TestClassify(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	late := time.Date(2026, 11, 25, 23, 50, 0, 0, time.UTC)
	tests := []struct {
		what   string
		status int
		body   string
		header map[string]string
		write  bool
		now    time.Time
		reason fault.Reason
		after  time.Duration
		field  string
	}{
		{"a wrong field", 400, `{"success":false,"error":"Validation failed: emails: value is not valid","code":"ERR_SCHEMA_VALIDATION_FAILED"}`, nil, true, noon, fault.VendorRejects, 0, "/emails"},
		{"a wrong custom field", 400, `{"success":false,"error":"Validation failed: custom_fields: 0123456789012345678901234567890123456789: wrong type"}`, nil, true, noon, fault.VendorRejects, 0, "/0123456789012345678901234567890123456789"},
		{"no JSON", 400, `<html>`, nil, true, noon, fault.VendorRejects, 0, ""},
		{"token", 401, `{"success":false,"error":"unauthorized access"}`, nil, true, noon, fault.TokenRefused, 0, ""},
		{"not paid", 402, `{"success":false,"error":"Payment required"}`, nil, true, noon, fault.VendorForbids, 0, ""},
		{"plan", 403, `{"success":false,"error":"no more","code":"feature_capping_deals_limit"}`, nil, true, noon, fault.VendorForbids, 0, ""},
		{"scope", 403, `{"success":false,"error":"Scope and URL mismatch"}`, nil, true, noon, fault.VendorForbids, 0, ""},
		{"guard", 403, `<!DOCTYPE html><title>Attention Required!</title>`, nil, true, noon, fault.RateLimited, time.Minute, ""},
		{"nothing at all", 403, ``, nil, true, noon, fault.RateLimited, time.Minute, ""},
		{"not found", 404, `{"success":false,"error":"Person not found"}`, nil, true, noon, fault.VendorNotFound, 0, ""},
		{"deleted", 410, `{"success":false,"error":"gone"}`, nil, true, noon, fault.VendorNotFound, 0, ""},
		{"conflict", 409, `{"success":false}`, nil, true, noon, fault.VendorConflict, 0, ""},
		{"burst", 429, `{"success":false,"error":"request over limit"}`, nil, true, noon, fault.RateLimited, 2 * time.Second, ""},
		{"burst, told", 429, `{"success":false}`, map[string]string{headReset: "1"}, true, noon, fault.RateLimited, time.Second, ""},
		{"burst, told twice", 429, `{"success":false}`, map[string]string{headReset: "1", "Retry-After": "9"}, true, noon, fault.RateLimited, 9 * time.Second, ""},
		{"daily, by the text", 429, `{"success":false,"error":"daily limit exceeded"}`, map[string]string{headReset: "1"}, true, noon, fault.RateLimited, 30 * time.Minute, ""},
		{"daily, by the header", 429, `{"success":false}`, map[string]string{headDaily: "3"}, true, late, fault.RateLimited, 10*time.Minute + time.Second, ""},
		{"failure of a write", 500, `{"success":false}`, nil, true, noon, fault.EffectUnknown, 200 * time.Millisecond, ""},
		{"failure of a read", 502, `<html>`, nil, false, noon, fault.VendorUnavailable, 200 * time.Millisecond, ""},
		{"gateway in time", 504, `<html>`, nil, true, noon, fault.EffectUnknown, 200 * time.Millisecond, ""},
		{"down", 503, `{"success":false}`, nil, true, noon, fault.VendorUnavailable, 200 * time.Millisecond, ""},
		{"down, told", 503, ``, map[string]string{"Retry-After": "30"}, true, noon, fault.VendorUnavailable, 30 * time.Second, ""},
		{"redirect", 301, ``, nil, true, noon, fault.VendorAnswerInvalid, 200 * time.Millisecond, ""},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			for name, value := range test.header {
				h.Set(name, value)
			}
			var p problem
			if json.Unmarshal([]byte(test.body), &p) != nil {
				p = problem{html: true}
			}
			e := classify(test.status, h, p, "a person", test.write, test.now)
			if e.Reason != test.reason || e.After != test.after || e.Field != test.field {
				t.Errorf("%s after %s at %q, want %s after %s at %q", e.Reason, e.After, e.Field, test.reason, test.after, test.field)
			}
		})
	}
}

// TestRetryAfter: seconds and dates, within a day.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"": 0, "0": 0, "x": 0, "3": 3 * time.Second, "999999": 24 * time.Hour, "Wed, 25 Nov 2020 10:00:00 GMT": 0} {
		if got := retryAfter(http.Header{"Retry-After": {text}}); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}
