package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

func TestFromClassifies(t *testing.T) {
	t.Parallel()
	own := fault.New(fault.UnknownSite, "no site %q", "shop").At("/site")
	tests := []struct {
		name   string
		err    error
		code   fault.Code
		reason fault.Reason
		text   string
	}{
		{"our own", own, fault.NotFound, fault.UnknownSite, `/site: no site "shop"`},
		{"wrapped", fmt.Errorf("sending: %w", own), fault.NotFound, fault.UnknownSite, `/site: sending: /site: no site "shop"`},
		{"a deadline", fmt.Errorf("calling: %w", context.DeadlineExceeded), fault.Expired, fault.DeadlineExceeded, "calling: context deadline exceeded"},
		{"a stop", context.Canceled, fault.Stopping, fault.ShuttingDown, "context canceled"},
		{"a stranger", io.ErrUnexpectedEOF, fault.Internal, fault.InternalError, "unexpected EOF"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := fault.From(test.err)
			if got.Code != test.code || got.Reason != test.reason || got.Error() != test.text {
				t.Errorf("From = %s %s %q, want %s %s %q", got.Code, got.Reason, got.Error(), test.code, test.reason, test.text)
			}
			if fault.CodeOf(test.err) != test.code {
				t.Errorf("CodeOf = %s", fault.CodeOf(test.err))
			}
		})
	}
	if fault.From(nil) != nil || fault.CodeOf(nil) != "" || fault.ExitCode("") != 0 {
		t.Error("nil is a fault")
	}
}

func TestErrorKeepsItsCause(t *testing.T) {
	t.Parallel()
	err := fault.New(fault.BusUnavailable, "connecting").Because(io.EOF)
	if !errors.Is(err, io.EOF) || err.Error() != "connecting: EOF" {
		t.Errorf("the cause is lost: %v", err)
	}
	if !errors.Is(fmt.Errorf("opening: %w", err), fault.New(fault.BusUnavailable, "")) {
		t.Error("errors.Is does not find the reason")
	}
	if errors.Is(err, fault.New(fault.BusDenied, "")) {
		t.Error("errors.Is finds another reason")
	}
	fixed := err.WithFix("start %s", "it")
	if fixed.Fix != "start it" || err.Fix == fixed.Fix {
		t.Errorf("WithFix gave %q and left %q", fixed.Fix, err.Fix)
	}
}

// Every reason is explained once, for people, and has a class that decides
// what a caller sees.
func TestReasonsAreExplained(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	seen := map[fault.Reason]bool{}
	for _, entry := range fault.Reasons() {
		if seen[entry.Reason] || !form.MatchString(string(entry.Reason)) {
			t.Errorf("the reason %q is there twice, or no name", entry.Reason)
		}
		seen[entry.Reason] = true
		if entry.Meaning == "" || entry.Fix == "" {
			t.Errorf("%s has no meaning or no fix", entry.Reason)
		}
		if got := entry.Reason.Entry(); got != entry {
			t.Errorf("%s is found as %v", entry.Reason, got)
		}
		if status := fault.HTTPStatus(entry.Code); status < 400 || status > 599 {
			t.Errorf("%s has the status %d", entry.Code, status)
		}
		if fault.ExitCode(entry.Code) == 0 {
			t.Errorf("%s ends a command as if all were well", entry.Code)
		}
	}
	if got := fault.New("no_such_reason", "x").Code; got != fault.Internal {
		t.Errorf("an unknown reason is %s", got)
	}
}

// A retry of what cannot change wastes work; no retry of what can loses it.
func TestRetryable(t *testing.T) {
	t.Parallel()
	want := map[fault.Code]bool{fault.Unavailable: true, fault.Exhausted: true, fault.Stopping: true}
	for _, entry := range fault.Reasons() {
		if got := fault.Retryable(fault.New(entry.Reason, "x")); got != want[entry.Code] {
			t.Errorf("Retryable(%s) = %t", entry.Reason, got)
		}
	}
	if fault.Retryable(nil) {
		t.Error("success is retried")
	}
}

func TestTheTimeOfAnotherTryIsKept(t *testing.T) {
	t.Parallel()
	full := fault.New(fault.BrowserBusy, "all tabs are in use").WithAfter(3 * time.Second)
	wrapped := fmt.Errorf("opening the page: %w", full)
	if got := fault.From(wrapped).After; got != 3*time.Second {
		t.Errorf("another try is worth it after %v, want 3s", got)
	}
	if full == full.WithAfter(time.Second) || full.After != 3*time.Second {
		t.Error("WithAfter changed its receiver")
	}
}
