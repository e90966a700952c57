package pipedrive

import (
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// How long to wait where Pipedrive does not say. Whoever asks again multiplies
// them.
const (
	afterBurst   = 2 * time.Second  // the window of the limit
	afterGuard   = time.Minute      // the guard in front of the API keeps out those who go on
	afterDaily   = 30 * time.Minute // the tokens come back once a day, at an hour that nobody tells
	afterFailure = 200 * time.Millisecond
)

// problem is Pipedrive's error. All of it may be missing.
type problem struct {
	Success bool   `json:"success"`
	Error   string `json:"error"`
	Code    string `json:"code"`
	html    bool   // it was no JSON
}

// What is taken from an error. The message is free text, which repeats values.
var (
	codeForm  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{2,63}$`)
	fieldForm = regexp.MustCompile(`Validation failed: (?:custom_fields: (?:unknown field )?)?([a-z][a-z_]{1,39}|[0-9a-f]{40})\b`)
	dailyForm = regexp.MustCompile(`(?i)\bdaily\b`)
)

func isReason(err error, reason fault.Reason) bool {
	return err != nil && errors.Is(err, fault.New(reason, ""))
}

// said is what an error of ours repeats.
func (p problem) said() string {
	if codeForm.MatchString(p.Code) {
		return p.Code
	}
	return ""
}

// field returns the field that is to blame, or "".
func (p problem) field() string {
	if m := fieldForm.FindStringSubmatch(p.Error); m != nil {
		return m[1]
	}
	return ""
}

// classify says what an answer means whose status is no success. It is the one
// place that decides it.
func classify(status int, h http.Header, p problem, name string, write bool, now time.Time) *fault.Error {
	reason, after := verdict(status, h, p, write, now)
	text := "Pipedrive answers " + strconv.Itoa(status) + " to " + name
	if said := p.said(); said != "" {
		text += ": " + said
	}
	e := fault.New(reason, "%s", text)
	if told := retryAfter(h); told > 0 && fault.Retryable(e) {
		after = told
	}
	if strings.HasPrefix(p.Code, "feature_capping") {
		e = e.WithFix("the plan has no more of it: delete something, or take a larger plan, in Pipedrive")
	}
	if name := p.field(); name != "" && reason == fault.VendorRejects {
		e = e.At("/" + name)
	}
	return e.WithAfter(after)
}

func verdict(status int, h http.Header, p problem, write bool, now time.Time) (fault.Reason, time.Duration) {
	switch status {
	case http.StatusUnauthorized:
		return fault.TokenRefused, 0
	case http.StatusPaymentRequired:
		return fault.VendorForbids, 0
	case http.StatusForbidden:
		if p.html {
			return fault.RateLimited, afterGuard // Who goes on in spite of 429 gets a web page.
		}
		return fault.VendorForbids, 0
	case http.StatusNotFound, http.StatusGone:
		return fault.VendorNotFound, 0
	case http.StatusConflict:
		return fault.VendorConflict, 0
	case http.StatusTooManyRequests:
		return fault.RateLimited, limited(h, p, now)
	case http.StatusServiceUnavailable:
		return fault.VendorUnavailable, afterFailure
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

// limited returns the time to wait after a 429: of the day or of the burst.
func limited(h http.Header, p problem, now time.Time) time.Duration {
	daily, err := strconv.Atoi(h.Get(headDaily))
	if err == nil && daily < mostTokens || dailyForm.MatchString(p.Error) {
		return untilMidnight(now)
	}
	return resetOf(h)
}

// resetOf returns the time until the burst's window ends.
func resetOf(h http.Header) time.Duration {
	if seconds, err := strconv.Atoi(h.Get(headReset)); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, time.Minute)
	}
	return afterBurst
}

// untilMidnight returns how long to leave the account alone when the day's tokens
// are used up. The day ends at midnight where the company's server is, which
// nobody tells, so it is asked again at most so often.
func untilMidnight(now time.Time) time.Duration {
	utc := now.UTC()
	midnight := utc.Truncate(24 * time.Hour).Add(24 * time.Hour)
	return min(midnight.Sub(utc)+time.Second, afterDaily)
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
