package app

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
)

// bench is a bus, a configuration with one workflow file, and a person who types
// commands.
type bench struct {
	t   *testing.T
	dir string
	url string
	bus *bus.Bus
}

const benchConfig = `
workflows: {dir: flows}
sites:
  shop:
    app_id: s00000000-0000-4000-8000-000000000001
    domains: [shop.example.test]
  docs:
    app_id: s00000000-0000-4000-8000-000000000002
    domains: [docs.example.test]
`

// The versions of the workflow of these tests.
const (
	helpOne = `name: pricing-help
on: [{trigger: track, event: Pricing Viewed, sites: [shop]}, {manual: true}]
if: trigger.properties.?plan.orValue("") == "pro"
steps:
  - {name: greet, action: chat.widget.open, await: true}
`
	helpTwo = `name: pricing-help
on: [{trigger: track, event: Pricing Viewed, sites: [shop]}, {manual: true}]
if: trigger.properties.?plan.orValue("") != ""
steps:
  - after: 1h
  - {name: greet, action: chat.widget.open, await: true}
`
)

func newBench(t *testing.T) *bench {
	t.Helper()
	server := bustest.Serve(t)
	b := &bench{t: t, dir: t.TempDir(), url: server.URL(), bus: server.Bus()}
	b.write("parley.yaml", benchConfig)
	b.write("flows/pricing-help.yaml", helpOne)
	return b
}

// write writes a file, and returns its path.
func (b *bench) write(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// types runs `publisher workflows` with the arguments. FILE: in one stands for
// the directory of the test.
func (b *bench) types(ctx context.Context, stderr io.Writer, args ...string) (code int, out, problem string) {
	b.t.Helper()
	all := []string{"workflows"}
	for _, arg := range args {
		all = append(all, strings.ReplaceAll(arg, "FILE:", b.dir+"/"))
	}
	var said, problems bytes.Buffer
	p := Process{
		Args: append(all, "-c", filepath.Join(b.dir, "parley.yaml")), Env: Env{"PARLEY_BUS_URL": b.url, "USER": "ada"},
		Stdin: strings.NewReader(""), Stdout: &said, Stderr: &problems,
	}
	if stderr != nil {
		p.Stderr, p.Terminal.Err = stderr, true
	}
	code = Publisher(ctx, p)
	return code, said.String(), strings.ReplaceAll(problems.String(), b.dir+"/", "FILE:")
}

func TestScratch(t *testing.T) {
	b := newBench(t)
	b.write("two.yaml", helpTwo)
	b.write("bad.yaml", "on: {trigger: trakc}\nsteps: [{acton: x}]\n")
	b.write("warn.yaml", "on: {trigger: track}\nsteps: [{wait_for: {event: widget.opened}}, {action: chat.widget.open}]\n")
	for _, line := range []string{
		"", "list", "lint", "lint FILE:two.yaml", "lint FILE:bad.yaml", "lint FILE:warn.yaml", "lint --strict FILE:warn.yaml", "lint FILE:none.yaml",
		"diff pricing-help", "versions pricing-help", "publish FILE:flows/pricing-help.yaml --note first", "publish FILE:two.yaml", "publish FILE:two.yaml", "list", "list --json", "versions pricing-help",
		"publish FILE:bad.yaml", "publish",
		"versions pricing-hlep", "versions",
		"diff pricing-help", "diff pricing-help 1 2", "diff pricing-help 1 FILE:two.yaml --text", "diff pricing-help 1 1", "diff pricing-help 9", "diff pricing-help x", "diff nothing", "diff pricing-help 2 FILE:none.yaml",
		"rollback pricing-help", "rollback pricing-help", "rollback pricing-help 1", "rollback pricing-help 7", "rollback nothing", "off pricing-help --note why", "off pricing-help", "list", "run pricing-help --site shop --visitor u-1", "diff pricing-help", "rollback pricing-help", "off nothing",
		"run", "run pricing-help", "run pricing-help --site shop", "run pricing-help --site nowhere --visitor u-1", "run other --site shop --visitor u-1",
		"run pricing-help --site shop --visitor u-1 -p plan", "run pricing-help --site shop --visitor u-1 -p plan=pro",
		"run --dry --site shop --visitor u-1", "run --dry --site shop --visitor u-1 --event Pricing_Viewed", "run --dry --site shop --visitor u-1 -p plan=pro --kind trak --event x",
		"run --dry --site shop --visitor u-1 pricing-help -p plan=pro", "run --dry --site shop --visitor u-1 --file FILE:two.yaml pricing-help -p plan=pro", "run --dry nothing --site shop --visitor u-1", "run --dry --site shop --visitor u-1 --event Pricing_Viewed",
		"runs", "runs --json", "runs abcdef", "runs a", "runs --status runing", "runs --site nowhere", "runs -w nothing", "runs --since 5", "runs --since 24h --status failed",
		"replay abcdef", "cancel abcdef", "replay", "cancel",
		"backtest", "backtest --versus current", "backtest --versus 9", "backtest --versus x", "backtest FILE:bad.yaml", "backtest --since x", "backtest --resume", "backtest --site nowhere", "backtest --json",
	} {
		args := strings.Fields(strings.ReplaceAll(line, "Pricing_Viewed", "Pricing\u00a0Viewed"))
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "\u00a0", " ")
		}
		args = strings.Split(strings.ReplaceAll(strings.Join(strings.Fields(line), "\x00"), "Pricing_Viewed", "Pricing Viewed"), "\x00")
		if line == "" {
			args = nil
		}
		code, out, problem := b.types(t.Context(), nil, args...)
		t.Logf("$ %s\n[%d] %s%s", line, code, out, problem)
	}
}
