package ingest

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// Standard answers a request whose sender has no way of its own. One event: 202,
// 200 for one that was stored before, 409 for an id with another event under it,
// 422 for a rejected one. Several: 200 with a result for each, or 422 when all
// of them were rejected. A refused request has the status of StatusOf.
func Standard(_ *Request, o Outcome) Reply {
	if o.Err != nil {
		return Refusal(o.Err)
	}
	var body struct {
		Results []standardResult `json:"results"`
	}
	rejected := 0
	for _, r := range o.Results {
		result := standardResult{ID: r.ID, Status: "accepted"}
		switch {
		case r.Rejected != nil:
			result.Status, result.Error = "rejected", problemOf(r.Rejected)
			rejected++
		case r.Conflict:
			result.Status = "conflict"
		case r.Duplicate:
			result.Status = "duplicate"
		}
		body.Results = append(body.Results, result)
	}
	status := http.StatusOK
	switch {
	case rejected > 0 && rejected == len(o.Results):
		status = http.StatusUnprocessableEntity
	case len(o.Results) == 1 && o.Results[0].Conflict:
		status = http.StatusConflict
	case len(o.Results) == 1 && !o.Results[0].Duplicate:
		status = http.StatusAccepted
	}
	if body.Results == nil {
		body.Results = []standardResult{}
	}
	return JSON(status, body)
}

// standardResult is one event in the standard answer.
type standardResult struct {
	ID     string           `json:"id,omitempty"`
	Status string           `json:"status"`
	Error  *standardProblem `json:"error,omitempty"`
}

// standardProblem is what is wrong, in the standard answer.
type standardProblem struct {
	Reason  fault.Reason `json:"reason"`
	Pointer string       `json:"pointer,omitempty"`
	Message string       `json:"message"`
	Fix     string       `json:"fix,omitempty"`
}

func problemOf(e *fault.Error) *standardProblem {
	message := *e
	message.Field = ""
	return &standardProblem{e.Reason, e.Field, message.Error(), e.Fix}
}

// Refusal is the standard answer for a whole request, with Retry-After where
// another try is worth it.
func Refusal(e *fault.Error) Reply {
	reply := JSON(StatusOf(e), map[string]*standardProblem{"error": problemOf(e)})
	RetryAfter(reply.Header, e)
	if e.Reason == fault.NotAuthentic {
		reply.Header.Set("WWW-Authenticate", `Bearer realm="parley"`)
	}
	return reply
}

// RetryAfter sets the header Retry-After where another try is worth it.
func RetryAfter(h http.Header, e *fault.Error) {
	if !fault.Retryable(e) {
		return
	}
	seconds := max(1, int64(math.Ceil(e.After.Seconds())))
	h.Set("Retry-After", strconv.FormatInt(seconds, 10))
}

// StatusOf returns the HTTP status of a refused request.
func StatusOf(e *fault.Error) int {
	switch e.Reason { //nolint:exhaustive // The others follow from their class.
	case fault.NotAuthentic:
		return http.StatusUnauthorized
	case fault.MediaType:
		return http.StatusUnsupportedMediaType
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.SchemaViolation:
		return http.StatusUnprocessableEntity
	case fault.DeadlineExceeded, fault.BusDenied, fault.BusMisconfigured:
		return http.StatusServiceUnavailable // It was not stored; the sender keeps it.
	}
	return fault.HTTPStatus(e.Code)
}

// JSON returns a reply with the value as JSON.
func JSON(status int, value any) Reply {
	body, err := json.Marshal(value)
	if err != nil { // Answers are made of texts and numbers.
		body, status = []byte(`{}`), http.StatusInternalServerError
	}
	return Reply{Status: status, Header: http.Header{}, Body: append(body, '\n')}
}

// Later returns the error of a request that should come again.
func Later(reason fault.Reason, after time.Duration, format string, args ...any) *fault.Error {
	return fault.New(reason, format, args...).WithAfter(after)
}
