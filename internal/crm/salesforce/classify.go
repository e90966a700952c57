package salesforce

import (
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// How long to wait where Salesforce does not say. Whoever asks again multiplies
// them.
const (
	afterDaily   = 15 * time.Minute // the calls of 24 hours are used up: the window rolls
	afterCrowded = 5 * time.Second  // too many calls at once
	afterLocked  = time.Second
	afterFailure = 200 * time.Millisecond
	afterGuard   = time.Minute // something in front of the API keeps us out
)

// problem is one of Salesforce's errors. Calls and records have different names
// for the code.
type problem struct {
	Code    string   `json:"errorCode"`
	Status  string   `json:"statusCode"`
	Message string   `json:"message"`
	Fields  []string `json:"fields"`
}

// problems is what Salesforce says against a call or a record: always a list.
type problems []problem

// What is taken from an error. The message is free text, which repeats values.
var (
	codeForm   = regexp.MustCompile(`^[A-Z][A-Z0-9_]{2,63}$`)
	fieldForm  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,79}$`)
	columnForm = regexp.MustCompile(`No such column '([A-Za-z][A-Za-z0-9_]{0,79})'`)
	valueForm  = regexp.MustCompile(`^duplicate value found: ([A-Za-z][A-Za-z0-9_]{0,79}) duplicates`)
)

func isReason(err error, reason fault.Reason) bool {
	return err != nil && errors.Is(err, fault.New(reason, ""))
}

func (p problem) code() string {
	for _, code := range []string{p.Code, p.Status} {
		if codeForm.MatchString(code) {
			return code
		}
	}
	return ""
}

// has reports whether one of the problems has one of the codes.
func (all problems) has(codes ...string) bool {
	return slices.ContainsFunc(all, func(p problem) bool { return slices.Contains(codes, p.code()) })
}

// says reports whether one of the messages holds the text. A trigger of the org
// wraps the code of what went wrong into its message.
func (all problems) says(text string) bool {
	return slices.ContainsFunc(all, func(p problem) bool { return strings.Contains(p.Message, text) })
}

// fields returns the fields that are named.
func (all problems) fields() []string {
	var names []string
	for _, p := range all {
		for _, name := range p.Fields {
			if fieldForm.MatchString(name) {
				names = append(names, name)
			}
		}
		for _, form := range []*regexp.Regexp{columnForm, valueForm} {
			if m := form.FindStringSubmatch(p.Message); m != nil {
				names = append(names, m[1])
			}
		}
	}
	return names
}

// said is what an error of ours repeats.
func (all problems) said() string {
	var codes []string
	for _, p := range all {
		if code := p.code(); code != "" {
			codes = append(codes, code)
		}
	}
	text := strings.Join(codes, ", ")
	if names := all.fields(); len(names) > 0 {
		text += " of " + strings.Join(names, ", ")
	}
	return strings.TrimSpace(text)
}

// classify says what an answer means whose status is no success. It is the one
// place that decides it.
func classify(status int, h http.Header, all problems, name string, write bool) *fault.Error {
	reason, after := verdict(status, h, all, write)
	text := "Salesforce answers " + strconv.Itoa(status) + " to " + name
	if said := all.said(); said != "" {
		text += ": " + said
	}
	e := fault.New(reason, "%s", text)
	if told := retryAfter(h); told > 0 && fault.Retryable(e) {
		after = told
	}
	if names := all.fields(); len(names) > 0 && e.Code == fault.Invalid {
		e = e.At("/" + names[0])
	}
	if reason == fault.VendorConflict {
		e = e.WithFix("look for records in Salesforce that are the same person, merge them, and replay")
	}
	return e.WithAfter(after)
}

func verdict(status int, h http.Header, all problems, write bool) (fault.Reason, time.Duration) {
	switch status {
	case http.StatusMultipleChoices:
		return fault.VendorConflict, 0
	case http.StatusBadRequest:
		return ofCodes(all)
	case http.StatusUnauthorized:
		return fault.TokenRefused, 0
	case http.StatusForbidden:
		if all.has("REQUEST_LIMIT_EXCEEDED") {
			return fault.RateLimited, limited(all)
		}
		if len(all) == 0 && strings.Contains(h.Get("Content-Type"), "html") {
			return fault.VendorUnavailable, afterGuard
		}
		return fault.VendorForbids, 0
	case http.StatusNotFound, http.StatusGone:
		return fault.VendorNotFound, 0
	case http.StatusConflict, http.StatusPreconditionFailed:
		return fault.VendorConflict, 0
	case http.StatusTooManyRequests:
		return fault.RateLimited, afterCrowded
	case http.StatusServiceUnavailable:
		return fault.VendorUnavailable, afterLocked
	}
	switch {
	case status/100 == 5 && write:
		return fault.EffectUnknown, afterFailure // Who failed in the middle may have done it.
	case status/100 == 5:
		return fault.VendorUnavailable, afterFailure
	case status/100 == 4:
		return fault.VendorRejects, 0
	}
	return fault.VendorAnswerInvalid, afterFailure
}

// limited returns the time to wait when calls are used up.
func limited(all problems) time.Duration {
	if all.says("ConcurrentRequests") {
		return afterCrowded
	}
	return afterDaily
}

// ofCodes reads the codes of a refusal, which is of one record or of a call that
// did nothing.
func ofCodes(all problems) (fault.Reason, time.Duration) {
	switch {
	case all.has("UNABLE_TO_LOCK_ROW") || all.says("UNABLE_TO_LOCK_ROW") || all.says("Too many SOQL queries"):
		return fault.VendorUnavailable, afterLocked
	case all.has("REQUEST_LIMIT_EXCEEDED"):
		return fault.RateLimited, limited(all)
	case all.has("SERVER_UNAVAILABLE", "QUERY_TIMEOUT", "REQUEST_RUNNING_TOO_LONG", "UNKNOWN_EXCEPTION", "TXN_SECURITY_METERING_ERROR"):
		return fault.VendorUnavailable, afterLocked
	case all.has("DUPLICATES_DETECTED", "DUPLICATE_VALUE", "DUPLICATE_EXTERNAL_ID"):
		return fault.VendorConflict, 0
	case all.has("ENTITY_IS_DELETED", "NOT_FOUND") || all.has("INVALID_CROSS_REFERENCE_KEY") && len(all.fields()) == 0:
		return fault.VendorNotFound, 0
	case all.has("API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED", "FUNCTIONALITY_NOT_ENABLED", "INSUFFICIENT_ACCESS",
		"INSUFFICIENT_ACCESS_OR_READONLY", "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "STORAGE_LIMIT_EXCEEDED"):
		return fault.VendorForbids, 0
	}
	return fault.VendorRejects, 0
}

// ofRecord says what the errors of one record mean. A key that somebody else
// wrote at the same moment is there the next time.
func (all problems) ofRecord(name, key string) *fault.Error {
	reason, after := ofCodes(all)
	if all.has("DUPLICATE_VALUE") && slices.Contains(all.fields(), key) {
		reason, after = fault.VendorUnavailable, afterLocked
	}
	text := "Salesforce refuses a record of " + name
	if said := all.said(); said != "" {
		text += ": " + said
	}
	e := fault.New(reason, "%s", text).WithAfter(after)
	if names := all.fields(); len(names) > 0 {
		e = e.At("/" + names[0])
	}
	if all.has("DUPLICATES_DETECTED") {
		e = e.WithFix("merge the records in Salesforce, or set the target's `allow_duplicates:`, and replay")
	}
	return e
}

// retryAfter reads the header: seconds, or a date. 0 is none.
func retryAfter(h http.Header) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 {
		return time.Duration(min(seconds, 24*3600)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(min(time.Until(at).Round(time.Second), 24*time.Hour), 0)
	}
	return 0
}
