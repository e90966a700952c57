package hubspot

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

const vendorNotFound = fault.VendorNotFound

func isReason(err error, reason fault.Reason) bool {
	return err != nil && errors.Is(err, fault.New(reason, ""))
}

// How long to wait where HubSpot does not say. They are what its own client
// waits for the first time; whoever asks again multiplies them.
const (
	afterRolling = 10 * time.Second // the window of the limit
	afterSecond  = time.Second
	afterDaily   = time.Hour // it ends at midnight somewhere: 24 vain calls at most
	afterLocked  = 2 * time.Second
	afterMoving  = time.Minute // the account moves to another data centre
	afterFailure = 200 * time.Millisecond
)

// Statuses of HubSpot, and of what stands in front of it, without a name in
// net/http.
const (
	statusMoving       = 477
	statusWebDown      = 521
	statusUnreachable  = 523
	statusGatewayAway  = 520
	statusConnectTime  = 522
	statusOriginTime   = 524
	statusTLSHandshake = 525
	statusTLSInvalid   = 526
)

// classify says what an answer means whose status is no success. It is the one
// place that decides it.
func classify(status int, h http.Header, p *problem, name string, write bool) *fault.Error {
	reason, after := verdict(status, h, p, write)
	text := "HubSpot answers " + strconv.Itoa(status) + " to " + name
	if said := p.said(); said != "" {
		text += ": " + said
	}
	e := fault.New(reason, "%s", text)
	if told := retryAfter(h); told > 0 && fault.Retryable(e) {
		after = told
	}
	if name := p.property(); name != "" && reason == fault.VendorRejects {
		e = e.At("/" + name)
	}
	return e.WithAfter(after)
}

func verdict(status int, h http.Header, p *problem, write bool) (fault.Reason, time.Duration) {
	// Who failed in the middle of a write may have done it.
	unsure := fault.VendorUnavailable
	if write {
		unsure = fault.EffectUnknown
	}
	switch status {
	case http.StatusUnauthorized:
		return fault.TokenRefused, 0
	case http.StatusForbidden:
		if p.Category == "" && strings.Contains(h.Get("Content-Type"), "html") {
			return fault.VendorUnavailable, afterMoving // A guard in front of the API.
		}
		return fault.VendorForbids, 0
	case http.StatusNotFound, http.StatusGone:
		return fault.VendorNotFound, 0
	case http.StatusConflict:
		return fault.VendorConflict, 0
	case http.StatusTooManyRequests:
		return fault.RateLimited, limited(h, p)
	case http.StatusLocked:
		return fault.VendorUnavailable, afterLocked
	case statusMoving:
		return fault.VendorUnavailable, afterMoving
	case http.StatusServiceUnavailable, statusWebDown, statusConnectTime, statusUnreachable, statusTLSHandshake, statusTLSInvalid:
		return fault.VendorUnavailable, afterFailure
	case http.StatusRequestTimeout, statusGatewayAway, statusOriginTime:
		return unsure, afterFailure
	}
	switch status / 100 {
	case 4:
		return fault.VendorRejects, 0
	case 5:
		return unsure, afterFailure
	}
	return fault.VendorAnswerInvalid, afterFailure
}

// limited returns the time to wait after a 429: by the name of the policy, else
// by the message of older limits, else by the header of the window.
func limited(h http.Header, p *problem) time.Duration {
	switch {
	case p.Policy == "TEN_SECONDLY_ROLLING":
		return afterRolling
	case p.Policy == "SECONDLY" || p.Policy == "" && innerSecond.MatchString(p.Message):
		return afterSecond
	case p.Policy == "DAILY" || p.Policy == "" && innerDaily.MatchString(p.Message):
		return afterDaily
	}
	if ms, err := strconv.Atoi(h.Get(headInterval)); err == nil && ms > 0 {
		return min(time.Duration(ms)*time.Millisecond, afterDaily)
	}
	return afterRolling
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

// ofRecord says what the error of one record of a batch means.
func (p *problem) ofRecord(name string) *fault.Error {
	reason, after := fault.VendorRejects, time.Duration(0)
	codes := p.codes()
	has := func(either ...string) bool {
		return slices.ContainsFunc(either, func(code string) bool { return slices.Contains(codes, code) })
	}
	switch {
	case has("OBJECT_NOT_FOUND"):
		reason = fault.VendorNotFound
	case has("CONFLICT", "CONFLICTING_UNIQUE_VALUE", "DUPLICATE_UNIQUE_PROPERTY_VALUE") || p.existing() != "":
		reason = fault.VendorConflict
	case has("RATE_LIMITS", "RATE_LIMIT"):
		reason, after = fault.RateLimited, afterRolling
	case has("MISSING_SCOPES", "BANNED"):
		reason = fault.VendorForbids
	case has("INTERNAL_ERROR", "TIMEOUT", "SERVICE_UNAVAILABLE", "LOCKED", "UNKNOWN"):
		reason, after = fault.VendorUnavailable, afterFailure
	}
	text := "HubSpot refuses a record of " + name
	if said := p.said(); said != "" {
		text += ": " + said
	}
	e := fault.New(reason, "%s", text).WithAfter(after)
	if property := p.property(); property != "" {
		e = e.At("/" + property)
	}
	return e
}
