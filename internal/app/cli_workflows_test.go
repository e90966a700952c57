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

	server *bustest.Server
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
	b := &bench{t: t, dir: t.TempDir(), url: server.URL(), bus: server.Bus(), server: server}
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

// typed is a command that somebody types, and what has to come of it.
type typed struct {
	line string // quotes hold words together
	code int
	want []string // in the output, or in the message
}

// words splits a line as a shell does.
func words(line string) []string {
	var all []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			all = append(all, part)
			continue
		}
		all = append(all, strings.Fields(part)...)
	}
	return all
}

// session types the commands, one after another.
func (b *bench) session(lines ...typed) {
	b.t.Helper()
	for _, line := range lines {
		code, out, problem := b.types(b.t.Context(), nil, words(line.line)...)
		if code != line.code {
			b.t.Errorf("$ publisher workflows %s\nends with %d, want %d:\n%s%s", line.line, code, line.code, out, problem)
		}
		if problem != "" && !strings.Contains(problem, "fix: ") {
			b.t.Errorf("$ publisher workflows %s\nsays nothing of how to mend it:\n%s", line.line, problem)
		}
		for _, want := range line.want {
			if !strings.Contains(out+problem, want) {
				b.t.Errorf("$ publisher workflows %s\ndoes not say %q:\n%s%s", line.line, want, out, problem)
			}
		}
	}
}

// TestWorkflowsLint checks files, good and bad.
func TestWorkflowsLint(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("two.yaml", helpTwo)
	b.write("bad.yaml", "on: {trigger: track}\nsteps: [{acton: x}]\n")
	b.write("meaning.yaml", "on: {trigger: track}\nif: visitor.identifed\nsteps: [{action: chat.widget.opne}]\n")
	b.write("ever.yaml", "on: {trigger: track}\nsteps: [{wait_for: {event: widget.opened}}, {action: chat.widget.open}]\n")
	b.session(
		typed{"lint", 0, []string{"1 workflow without an error, 0 warnings"}},
		typed{"lint FILE:two.yaml FILE:ever.yaml", 0, []string{"2 workflows without an error, 1 warning", "waits for ever", "ever.yaml:2", "add `timeout: 24h`"}},
		typed{"lint --strict FILE:two.yaml", 0, []string{"0 warnings"}},
		typed{"lint --strict FILE:ever.yaml", 1, []string{"1 warning"}},
		typed{"lint FILE:bad.yaml", 1, []string{"FILE:bad.yaml:2", `unknown key "acton"`, `did you mean "action"?`}},
		typed{"lint FILE:meaning.yaml", 1, []string{"FILE:meaning.yaml:2", "identifed", "FILE:meaning.yaml:3", "chat.widget.open"}},
		typed{"lint FILE:two.yaml FILE:flows/pricing-help.yaml", 1, []string{"pricing-help"}},
		typed{"lint FILE:none.yaml", 1, []string{"FILE:none.yaml", "no such file", "name files of workflows"}},
	)
	b.write("parley.yaml", strings.Replace(benchConfig, "dir: flows", "dir: flowers", 1))
	b.session(typed{"lint", 1, []string{"there is no directory", "workflows.dir"}})
}

// TestWorkflowsVersions publishes versions, compares them, and goes back and
// forth between them.
func TestWorkflowsVersions(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("two.yaml", helpTwo)
	b.write("bad.yaml", "on: {trigger: track}\nsteps: [{acton: x}]\n")
	b.session(
		typed{"", 0, []string{"no workflows; "}},
		typed{"versions pricing-help", 1, []string{`there is no workflow "pricing-help"`}},
		typed{"publish FILE:flows/pricing-help.yaml --note 'the first one'", 0, []string{"pricing-help is on, version 1\n"}},
		typed{"publish FILE:two.yaml FILE:bad.yaml", 1, []string{"FILE:bad.yaml:2"}},
		typed{"versions pricing-help", 0, []string{"the first one", "ada"}},
		typed{"publish FILE:two.yaml", 0, []string{"pricing-help is on, version 2\n"}},
		typed{"publish FILE:two.yaml", 0, []string{"version 2, as before"}},
		typed{"list", 0, []string{"pricing-help  2 of 2", "track Pricing Viewed; manual pricing-help", "ada"}},
		typed{"list --json", 0, []string{`{"name":"pricing-help","version":2,"on":["track Pricing Viewed","manual pricing-help"],"versions":2,`, `"by":"ada"}`}},

		typed{"diff pricing-help", 1, []string{`== "pro"`, "- step"}}, // What is on, and the file.
		typed{"diff pricing-help 1 2", 1, []string{`== "pro" → `, "+ step"}},
		typed{"diff pricing-help 1 FILE:two.yaml --text", 1, []string{"--- pricing-help, version 1", "+  - after: 1h"}},
		typed{"diff pricing-help 2 FILE:two.yaml", 0, []string{"do the same"}},
		typed{"diff pricing-help 9", 1, []string{"there is no version 9"}},
		typed{"diff pricing-help nine", 1, []string{`"nine" is neither a version's number nor a file`}},
		typed{"diff pricing-hlep", 1, []string{`did you mean "pricing-help"?`}},

		typed{"rollback pricing-help", 0, []string{"version 1; runs under way keep theirs"}},
		typed{"rollback pricing-help 2", 0, []string{"version 2"}},
		typed{"rollback pricing-help 7", 1, []string{"there is no version 7"}},
		typed{"rollback pricing-hlep", 1, []string{`did you mean "pricing-help"?`}},
		typed{"off pricing-help --note 'too loud'", 0, []string{"pricing-help is off", "rollback pricing-help"}},
		typed{"list", 0, []string{"pricing-help  off"}},
		typed{"run pricing-help --site shop --visitor u-1", 1, []string{"is off", "`publisher workflows rollback pricing-help`"}},
		typed{"diff pricing-help", 1, []string{"is off"}},
		typed{"rollback pricing-help", 0, []string{"pricing-help is on, version 2"}},
		typed{"off nothing", 1, []string{`there is no workflow "nothing"`}},
		typed{"publish", 2, []string{"--help"}},
	)
}

// TestWorkflowsDry shows what an event would lead to, without a worker, and
// without an effect.
func TestWorkflowsDry(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("two.yaml", helpTwo)
	b.write("all.yaml", `name: all
on: {trigger: track, event: All}
requires: [consent]
steps:
  - emit: {event: Done, properties: {plan: "${ trigger.properties.plan }"}}
  - http: {url: https://crm.example.test/leads, body: {a: 1}}
    await: true
`)
	who := " --site shop --visitor u-1"
	b.session(
		typed{"run --dry --event 'Pricing Viewed' -p plan=pro" + who, 0, []string{"pricing-help: would send botstar.widget.open {}", "waits for a result until"}},
		typed{"run --dry --event 'Pricing Viewed' -p plan=free" + who, 0, []string{"no condition holds"}},
		typed{"run --dry --event 'Pricing Viewed' -p plan=pro --site docs --visitor u-1", 0, []string{"no workflow listens to that"}},
		typed{"run --dry --event Elsewhere" + who, 0, []string{"no workflow listens to that"}},
		typed{"run --dry pricing-help -p plan=pro" + who, 0, []string{"would send botstar.widget.open"}},
		typed{"run --dry pricing-help -p plan=pro --file FILE:two.yaml" + who, 0, []string{"pricing-help: waits until"}},
		typed{"run --dry --event All -p plan=pro --file FILE:all.yaml" + who, 0, []string{`all: would emit {`, `"plan":"pro"`, "all: would call POST https://crm.example.test/leads"}},
		typed{"run --dry --event All --file FILE:all.yaml" + who, 0, []string{"all: ends, failed", "plan"}},
		typed{"run --dry --event All -p seats:={ --file FILE:all.yaml" + who, 1, []string{"seats"}},
		typed{"run --dry nothing" + who, 1, []string{`the files have no workflow "nothing"`}},
		typed{"run --dry all --file FILE:all.yaml" + who, 1, []string{"nobody may start all by hand", "{manual: true}"}},
		typed{"run --dry" + who, 1, []string{"no event is named", "--event"}},
		typed{"run --dry --event X --kind trak" + who, 1, []string{`did you mean "track"?`}},
		typed{"run --dry --event X --site shop", 1, []string{"names no visitor", "--visitor"}},
		typed{"run --dry --event X --visitor u-1", 1, []string{"no site is named", "--site docs"}},
		typed{"run --dry --event X -p plan" + who, 1, []string{`"plan" is no pair`, "name:=json"}},
		typed{"run" + who, 1, []string{"no workflow is named"}},
		typed{"run pricing-help" + who, 1, []string{`there is no workflow "pricing-help"`}},
	)
	if n := b.server.Messages(bus.StreamFlow); n != 0 {
		t.Errorf("a dry run has stored %d messages", n)
	}
}

// TestWorkflowsRefuse shows commands that cannot be obeyed.
func TestWorkflowsRefuse(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.session(
		typed{"runs", 0, []string{"no runs"}},
		typed{"runs --json", 0, nil},
		typed{"runs abc", 1, []string{`"abc" is too short`, "6 characters"}},
		typed{"runs abcdefgh", 1, []string{"no run begins with abcdefgh"}},
		typed{"runs --status fail", 1, []string{`did you mean "failed"?`}},
		typed{"runs --site shpo", 1, []string{"did you mean shop?"}},
		typed{"runs --since 5", 2, []string{"--since", "unit"}},
		typed{"runs --since 7d", 0, []string{"no runs"}},
		typed{"replay abcdefgh", 1, []string{"no run begins with"}},
		typed{"replay", 2, []string{"<run>"}},
		typed{"cancel abcdefgh", 1, []string{"no run begins with"}},
		typed{"backtest", 0, []string{"there is no event in that time", "publisher backfill"}},
		typed{"backtest --resume --state FILE:none.json", 1, []string{"no test was stopped", "leave --resume out"}},
		typed{"backtest --resume --state FILE:parley.yaml", 1, []string{"reading the test that was stopped"}},
		typed{"backtest --site shpo", 1, []string{"did you mean shop?"}},
		typed{"backtest --since 14", 2, []string{"--since", "unit"}},
		typed{"backtest --versus 3", 1, []string{`there is no workflow "pricing-help"`}},
		typed{"backtest FILE:none.yaml", 1, []string{"no such file"}},
	)
	b.write("parley.yaml", strings.Replace(benchConfig, "workflows: {dir: flows}", "", 1))
	b.session(
		typed{"backtest", 1, []string{"no workflow to test"}},
		typed{"lint", 0, []string{"0 workflows"}},
		typed{"diff pricing-help", 1, []string{`there is no workflow "pricing-help"`}},
	)
	b.url = "nats://127.0.0.1:1"
	for _, line := range []string{"list", "runs", "backtest", "versions x"} {
		b.session(typed{line, 75, []string{"127.0.0.1:1"}})
	}
}
