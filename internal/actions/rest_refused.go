package actions

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/parley-chat/parley/internal/fault"
)

// maxSaid is how many characters of a vendor's own words an error holds.
const maxSaid = 200

// refused classifies an answer whose status is no success.
func refused(call Call, t try) *fault.Error {
	said := "the answer to " + call.String() + " is " + strconv.Itoa(t.status)
	if words := words(t.body); words != "" {
		said += ": " + words
	}
	switch t.status {
	case http.StatusUnauthorized:
		return fault.New(fault.TokenRefused, "%s", said)
	case http.StatusForbidden:
		return fault.New(fault.VendorForbids, "%s", said)
	case http.StatusNotFound, http.StatusGone:
		return fault.New(fault.VendorNotFound, "%s", said)
	case http.StatusConflict:
		return fault.New(fault.VendorConflict, "%s", said)
	case http.StatusTooManyRequests:
		limited := fault.New(fault.RateLimited, "%s", said)
		if t.after > 0 {
			limited = limited.WithAfter(t.after).WithFix("send it again after %s", t.after)
		}
		return limited
	}
	switch t.status / 100 {
	case 4:
		return fault.New(fault.VendorRejects, "%s", said)
	case 5:
		return fault.New(fault.VendorUnavailable, "%s", said).WithAfter(t.after)
	}
	return fault.New(fault.VendorAnswerInvalid, "%s, which nobody follows here", said)
}

// words returns what the vendor says went wrong: message, else error, else the
// plain text. It is untrusted, so it is one line and short.
func words(body []byte) string {
	var told struct {
		Message any `json:"message"`
		Error   any `json:"error"`
	}
	text := ""
	if json.Unmarshal(body, &told) == nil {
		message, _ := told.Message.(string)
		code, _ := told.Error.(string)
		text = message
		if text == "" {
			text = code
		}
	} else if body = bytes.TrimSpace(body); !bytes.HasPrefix(body, []byte("<")) && !bytes.HasPrefix(body, []byte("{")) {
		text = string(body)
	}
	return short(text)
}

// short makes one line of at most maxSaid characters.
func short(text string) string {
	clean := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, "\uFFFD"))
	clean = strings.Join(strings.Fields(clean), " ")
	if runes := []rune(clean); len(runes) > maxSaid {
		return string(runes[:maxSaid]) + "…"
	}
	return clean
}

// retryAfter reads the header: seconds, or a date. 0 is none.
func retryAfter(header http.Header) time.Duration {
	text := strings.TrimSpace(header.Get("Retry-After"))
	if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 {
		return time.Duration(min(seconds, 24*3600)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(min(time.Until(at).Round(time.Second), 24*time.Hour), 0)
	}
	return 0
}

// conceal takes the token out of what the vendor says, in case it repeats it.
func conceal(body []byte, token Token) []byte {
	for _, form := range []string{token.value, url.QueryEscape(token.value)} {
		if form != "" && bytes.Contains(body, []byte(form)) {
			body = bytes.ReplaceAll(body, []byte(form), []byte(hidden))
		}
	}
	return body
}
