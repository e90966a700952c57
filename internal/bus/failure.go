package bus

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/fault"
)

// The error codes of JetStream that decide something and that nats.go does not
// name.
const (
	codeConsumerOverlap = 10100 // filters of a work queue's consumers overlap
	codeConsumerUnbound = 10099 // a work queue's consumer without a filter
	codeStoreFull       = 10077 // a limit of messages or bytes is reached
	codeNoSpace         = 10047 // the storage is full
	codeNotLeader       = 10008 // JetStream is between two leaders
	codeInsufficient    = 10023 // JetStream has no resources now
	codeStreamOffline   = 10118 // the stream is not served now
)

// classify gives an error of NATS its class, where it is born. It keeps an
// error that has one, and returns nil for nil.
func classify(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if api := apiError(err); api != nil {
		return classifyAPI(api)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return err // The caller gave up, and knows why.
	case errors.Is(err, nats.ErrMaxPayload):
		return fault.New(fault.TooLarge, "the message is larger than the server takes").Because(err)
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired),
		errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired),
		errors.Is(err, nats.ErrPermissionViolation):
		return fault.New(fault.BusDenied, "the server refuses these credentials").
			WithFix("check the file named in `nats.credentials`").Because(err)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		return fault.New(fault.BusUnavailable, "no stream takes this subject").
			WithFix("check that the server runs JetStream and that a worker has made its streams: `worker doctor`").Because(err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.Is(err, jetstream.ErrAsyncPublishTimeout):
		return fault.New(fault.BusUnavailable, "the server did not answer in time").Because(err)
	default:
		return fault.New(fault.BusUnavailable, "the server cannot be reached").Because(err)
	}
}

func classifyAPI(api *jetstream.APIError) error {
	switch api.ErrorCode { //nolint:exhaustive // The other codes are told apart by their class, below.
	case codeStoreFull, codeNoSpace:
		return fault.New(fault.QueueFull, "the queue is full").Because(api)
	case jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return fault.New(fault.TooLarge, "the message is larger than the stream takes").Because(api)
	case codeNotLeader, codeInsufficient, codeStreamOffline:
		return fault.New(fault.BusUnavailable, "JetStream is not ready").Because(api)
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return fault.New(fault.StaleFence, "somebody else wrote first").Because(api)
	case jetstream.JSErrCodeScheduleTargetInvalid, jetstream.JSErrCodeSchedulePatternInvalid:
		return fault.New(fault.Malformed, "the timer is not one that the server takes").Because(api)
	}
	if api.Code == 503 || api.Code == 408 {
		return fault.New(fault.BusUnavailable, "JetStream is not ready").Because(api)
	}
	return fault.New(fault.BusMisconfigured, "JetStream refused the request").Because(api)
}

// apiError returns JetStream's own error inside err, or nil. The library
// returns it bare, or inside one of its error values.
func apiError(err error) *jetstream.APIError {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api
	}
	if js, ok := errors.AsType[jetstream.JetStreamError](err); ok {
		return js.APIError()
	}
	return nil
}

// apiCode returns the error code of JetStream inside err, or 0.
func apiCode(err error) jetstream.ErrorCode {
	if api := apiError(err); api != nil {
		return api.ErrorCode
	}
	return 0
}

// isConflict reports whether the server refused an expected revision.
func isConflict(err error) bool {
	code := apiCode(err)
	return code == jetstream.JSErrCodeStreamWrongLastSequence || code == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}
