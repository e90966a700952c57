// Package fault says what kind of failure happened, what to do about it, and
// whether another try is worth it. A failure is classified once, where it is
// born; one code decides the HTTP status, the exit code and the fate of the
// message on the bus.
package fault

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Code is the class of a failure. It decides what happens next.
type Code string

// The classes. Every error that leaves a package of ours has exactly one.
const (
	Invalid     Code = "invalid"     // The input is wrong. The same input fails again.
	NotFound    Code = "not_found"   // What the input names does not exist.
	Conflict    Code = "conflict"    // It contradicts what was said or done before.
	Unmet       Code = "unmet"       // A precondition does not hold, and we may not make it true.
	Denied      Code = "denied"      // The caller may not do this.
	Unsupported Code = "unsupported" // The provider or the executor cannot do this at all.
	Exhausted   Code = "exhausted"   // A budget, a rate or a queue is full. Later it may work.
	Expired     Code = "expired"     // The deadline passed.
	Unavailable Code = "unavailable" // Something we need is away. Another try is worth it.
	Stopping    Code = "stopping"    // We are shutting down. Somebody else should do it.
	Internal    Code = "internal"    // A bug of ours.
)

// Error is a classified failure. Its text is written for a person; Reason is
// written for a program and is part of the public contract (docs/errors.md).
type Error struct {
	// Code is the class.
	Code Code
	// Reason is the exact kind, in snake case, listed in Reasons.
	Reason Reason
	// Field is a JSON pointer to the part of the input that is wrong, or "".
	Field string
	// Message says what happened, in lower case.
	Message string
	// Fix says what the reader can do about it.
	Fix string
	// After is how long to wait before another try is worth it, as far as it can
	// be told, or 0.
	After time.Duration
	// Err is the cause, or nil.
	Err error
}

// Error returns the message, the field and the cause. The fix is kept apart, so
// that a wrapped error stays one line.
func (e *Error) Error() string {
	text := e.Message
	if text == "" {
		text = string(e.Reason)
	}
	if e.Field != "" {
		text = e.Field + ": " + text
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether the target is an *Error with the same reason.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Reason == e.Reason
}

// At returns a copy of the error that points at the field of the input.
func (e *Error) At(pointer string) *Error {
	at := *e
	at.Field = pointer
	return &at
}

// Because returns a copy of the error with the cause.
func (e *Error) Because(err error) *Error {
	because := *e
	because.Err = err
	return &because
}

// WithFix returns a copy of the error with a fix that fits the case better than
// the reason's own.
func (e *Error) WithFix(format string, args ...any) *Error {
	fixed := *e
	fixed.Fix = fmt.Sprintf(format, args...)
	return &fixed
}

// WithAfter returns a copy of the error that says when another try is worth it.
func (e *Error) WithAfter(d time.Duration) *Error {
	later := *e
	later.After = d
	return &later
}

// New returns an error of the reason. Class and fix come from the table of
// reasons; the message says what happened this time.
func New(reason Reason, format string, args ...any) *Error {
	entry := reason.Entry()
	return &Error{Code: entry.Code, Reason: reason, Message: fmt.Sprintf(format, args...), Fix: entry.Fix}
}

// From returns the classified error inside err. An error that nobody
// classified is Expired when a deadline passed, Stopping when it was
// cancelled, and Internal otherwise. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		if err.Error() == e.Error() {
			return e
		}
		outer := *e
		outer.Message, outer.Field, outer.Err = err.Error(), e.Field, nil
		return &outer
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return New(DeadlineExceeded, "%s", err)
	case errors.Is(err, context.Canceled):
		return New(ShuttingDown, "%s", err)
	default:
		return New(InternalError, "%s", err)
	}
}

// CodeOf returns the class of the error; "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return From(err).Code
}

// Retryable reports whether the same input may work on another try.
func Retryable(err error) bool {
	switch CodeOf(err) {
	case Unavailable, Exhausted, Stopping:
		return true
	case Invalid, NotFound, Conflict, Unmet, Denied, Unsupported, Expired, Internal, "":
		return false
	}
	return false
}

// HTTPStatus returns the status code of the class.
func HTTPStatus(code Code) int {
	switch code {
	case Invalid:
		return 400
	case Denied:
		return 403
	case NotFound:
		return 404
	case Conflict:
		return 409
	case Unmet:
		return 412
	case Unsupported:
		return 422
	case Exhausted:
		return 429
	case Internal:
		return 500
	case Unavailable, Stopping:
		return 503
	case Expired:
		return 504
	}
	return 500
}

// ExitCode returns the exit code that a command ends with, after sysexits.h
// where it has a name for the class.
func ExitCode(code Code) int {
	switch code {
	case "":
		return 0
	case Invalid, NotFound, Conflict, Unmet, Unsupported:
		return 1
	case Denied:
		return 77
	case Exhausted, Unavailable, Stopping:
		return 75
	case Expired:
		return 124
	case Internal:
		return 70
	}
	return 70
}
