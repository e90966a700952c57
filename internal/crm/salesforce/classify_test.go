package salesforce

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// TestClassify is the table of what Salesforce's answers mean.
func TestClassify(t *testing.T) {
	t.Parallel()
	said := func(code, message string) string {
		return `[{"errorCode":"` + code + `","message":"` + message + `"}]`
	}
	tests := []struct {
		what   string
		status int
		body   string
		header map[string]string
		write  bool
		reason fault.Reason
		after  time.Duration
	}{
		{"ambiguous key", 300, `["/services/data/v62.0/sobjects/Contact/003"]`, nil, true, fault.VendorConflict, 0},
		{"unknown field", 400, said("INVALID_FIELD", "No such column 'X__c' on sobject of type Contact"), nil, true, fault.VendorRejects, 0},
		{"locked by a trigger", 400, said("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "Trigger: UNABLE_TO_LOCK_ROW, unable"), nil, true, fault.VendorUnavailable, time.Second},
		{"too many queries", 400, said("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "System.LimitException: Too many SOQL queries: 101"), nil, true, fault.VendorUnavailable, time.Second},
		{"another trigger", 400, said("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "Trigger: no"), nil, true, fault.VendorRejects, 0},
		{"locked row", 400, said("UNABLE_TO_LOCK_ROW", "unable"), nil, true, fault.VendorUnavailable, time.Second},
		{"duplicates", 400, said("DUPLICATES_DETECTED", "Use one"), nil, true, fault.VendorConflict, 0},
		{"session", 401, said("INVALID_SESSION_ID", "Session expired or invalid"), nil, true, fault.TokenRefused, 0},
		{"other 401", 401, `gone`, nil, false, fault.TokenRefused, 0},
		{"calls of the day", 403, said("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."), nil, true, fault.RateLimited, 15 * time.Minute},
		{"calls at once", 403, said("REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."), nil, true, fault.RateLimited, 5 * time.Second},
		{"no API", 403, said("API_DISABLED_FOR_ORG", "no"), nil, true, fault.VendorForbids, 0},
		{"a guard", 403, `<html>`, map[string]string{"Content-Type": "text/html"}, true, fault.VendorUnavailable, time.Minute},
		{"not found", 404, said("NOT_FOUND", "no"), nil, true, fault.VendorNotFound, 0},
		{"method", 405, said("METHOD_NOT_ALLOWED", "no"), nil, true, fault.VendorRejects, 0},
		{"too many", 429, ``, nil, true, fault.RateLimited, 5 * time.Second},
		{"too many, told", 429, ``, map[string]string{"Retry-After": "7"}, true, fault.RateLimited, 7 * time.Second},
		{"failure of a write", 500, said("UNKNOWN_EXCEPTION", "An unexpected error occurred."), nil, true, fault.EffectUnknown, 200 * time.Millisecond},
		{"failure of a read", 500, said("UNKNOWN_EXCEPTION", "An unexpected error occurred."), nil, false, fault.VendorUnavailable, 200 * time.Millisecond},
		{"gateway", 502, `<html>`, nil, true, fault.EffectUnknown, 200 * time.Millisecond},
		{"down", 503, said("SERVER_UNAVAILABLE", "down"), nil, true, fault.VendorUnavailable, time.Second},
		{"down, told", 503, `{}`, map[string]string{"Retry-After": "120"}, true, fault.VendorUnavailable, 2 * time.Minute},
		{"redirect", 302, ``, nil, true, fault.VendorAnswerInvalid, 200 * time.Millisecond},
		{"an object, no list", 400, `{"error":"x","error_description":"y"}`, nil, true, fault.VendorRejects, 0},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			for name, value := range test.header {
				h.Set(name, value)
			}
			var all problems
			if json.Unmarshal([]byte(test.body), &all) != nil {
				all = nil
			}
			e := classify(test.status, h, all, "a record", test.write)
			if e.Reason != test.reason || e.After != test.after {
				t.Errorf("%s after %s, want %s after %s", e.Reason, e.After, test.reason, test.after)
			}
		})
	}
}

// TestOfRecord is the table of what is said of single records.
func TestOfRecord(t *testing.T) {
	t.Parallel()
	tests := []struct {
		code, message string
		fields        []string
		reason        fault.Reason
		field         string
	}{
		{"STRING_TOO_LONG", "Plan__c: data value too large", []string{"Plan__c"}, fault.VendorRejects, "/Plan__c"},
		{"REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]", []string{"LastName"}, fault.VendorRejects, "/LastName"},
		{"INVALID_EMAIL_ADDRESS", "Email: invalid email address: secret@x", []string{"Email"}, fault.VendorRejects, "/Email"},
		{"UNABLE_TO_LOCK_ROW", "unable", nil, fault.VendorUnavailable, ""},
		{"CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "caused by: UNABLE_TO_LOCK_ROW", nil, fault.VendorUnavailable, ""},
		{"DUPLICATE_VALUE", "duplicate value found: Parley_Key__c duplicates value on record with id: 003", nil, fault.VendorUnavailable, "/Parley_Key__c"},
		{"DUPLICATE_VALUE", "duplicate value found: Code__c duplicates value on record with id: 003", nil, fault.VendorConflict, "/Code__c"},
		{"DUPLICATES_DETECTED", "Use one of these records?", nil, fault.VendorConflict, ""},
		{"DUPLICATE_EXTERNAL_ID", "More than one", nil, fault.VendorConflict, ""},
		{"ENTITY_IS_DELETED", "entity is deleted", nil, fault.VendorNotFound, ""},
		{"INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", nil, fault.VendorNotFound, ""},
		{"INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", []string{"WhoId"}, fault.VendorRejects, "/WhoId"},
		{"INSUFFICIENT_ACCESS_OR_READONLY", "no", nil, fault.VendorForbids, ""},
		{"REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", nil, fault.RateLimited, ""},
		{"", "", nil, fault.VendorRejects, ""},
		{"secret token", "secret", []string{"secret token"}, fault.VendorRejects, ""},
	}
	for _, test := range tests {
		e := problems{{Status: test.code, Message: test.message, Fields: test.fields}}.ofRecord("Contact", "Parley_Key__c")
		if e.Reason != test.reason || e.Field != test.field {
			t.Errorf("%s, %s: %s at %q, want %s at %q", test.code, test.message, e.Reason, e.Field, test.reason, test.field)
		}
		if strings.Contains(e.Error(), "secret") {
			t.Errorf("it repeats what it was told: %s", e)
		}
	}
}

// TestRetryAfter: seconds and dates, within a day.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"": 0, "0": 0, "-1": 0, "3": 3 * time.Second, "999999": 24 * time.Hour, "Wed, 25 Nov 2020 10:00:00 GMT": 0} {
		if got := retryAfter(http.Header{"Retry-After": {text}}); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
	at := time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)
	if got := retryAfter(http.Header{"Retry-After": {at}}); got < 55*time.Second || got > 61*time.Second {
		t.Errorf("%s is %s", at, got)
	}
}
