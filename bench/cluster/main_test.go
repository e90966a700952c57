package main

import (
	"bytes"
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/bus/bustest"
)

// TestMain makes the test's binary a worker when it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == workerCommand {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		os.Exit(do(ctx, os.Args[1:], os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m, bustest.Leaks()...)
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args string
		code int
		says string
	}{
		{"a mode that is none", "-mode magic", 2, "neither simulated nor pages"},
		{"a fault that is none", "-faults flood", 2, `"flood" is none of`},
		{"a fault of the other mode", "-faults browser", 2, `"browser" is none of`},
		{"a word too many", "now", 2, `"now" is not a flag`},
		{"one worker", "-workers 1", 2, "needs two workers"},
		{"a flag that is none", "-loud", 2, "-loud"},
		{"help", "-help", 0, "-seed"},
		{"a brief that is not there", "worker missing.json", 1, "missing.json"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out, diagnostics bytes.Buffer
			if code := do(t.Context(), strings.Fields(test.args), &out, &diagnostics); code != test.code {
				t.Errorf("the exit code is %d, want %d", code, test.code)
			}
			if !strings.Contains(diagnostics.String(), test.says) {
				t.Errorf("it says %q, want %q in it", &diagnostics, test.says)
			}
		})
	}
}
