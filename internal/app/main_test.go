package app

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus/bustest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		os.Exit(workerProcess())
	}
	if os.Getenv(asCommand) != "" {
		os.Exit(commandProcess())
	}
	goleak.VerifyTestMain(m, bustest.Leaks()...)
}

// asWorker is the variable that makes the test binary a worker process. It
// holds a childConfig.
const asWorker = "PARLEY_TEST_WORKER"

// asCommand is the variable that makes the test binary the worker's command line.
const asCommand = "PARLEY_TEST_COMMAND"

// commandProcess is what cmd/worker is.
func commandProcess() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return Worker(ctx, ThisProcess())
}

// childConfig is what a worker process of a test is started with.
type childConfig struct {
	Dir       string            // where parley.yaml is
	Resolve   map[string]string // leads its browsers to the stand-ins of the test
	TrustSPKI []string
	// Roles are what it does; empty means all. Pageless starts no browser.
	Roles    []string
	Pageless bool
}

// workerProcess is the real worker, as `worker run` is, with browsers that are
// led to stand-ins. It says "ready" when it takes work.
func workerProcess() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := ThisProcess()
	var child childConfig
	if err := json.Unmarshal([]byte(os.Getenv(asWorker)), &child); err != nil {
		return p.fail("worker", err)
	}
	c, err := p.prepare(&common{Config: child.Dir + "/parley.yaml"})
	if err != nil {
		return p.fail("worker", err)
	}
	cfg, err := c.config()
	if err != nil {
		return p.fail("worker", err)
	}
	cfg.Worker.Roles = child.Roles
	rules, err := LoadRules(cfg, c.catalog, c.schemas)
	if err != nil {
		return p.fail("worker", err)
	}
	err = runSystem(ctx, c.logger(cfg.Telemetry), cfg, Parts{
		Catalog: c.catalog, Schemas: c.schemas, Env: Env{}, Rules: rules, Resolve: child.Resolve, TrustSPKI: child.TrustSPKI, Pageless: child.Pageless,
		Started: func(part, detail string) { _, _ = fmt.Fprintln(os.Stdout, "started", part, detail) },
	})
	if err != nil {
		return p.fail("worker", err)
	}
	return 0
}

func catalogue(tb testing.TB) *actions.Catalog {
	tb.Helper()
	catalog, err := Catalog()
	if err != nil {
		tb.Fatal(err)
	}
	return catalog
}

// golden compares the text with the file, or writes the file with -update.
func golden(tb testing.TB, file, got string) {
	tb.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			tb.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	if got != string(want) {
		tb.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}
