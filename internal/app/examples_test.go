package app

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/workflow/engine"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

// exampleDir has a directory for each example.
const exampleDir = "../../examples"

// exampleSecret is every secret and token of the examples.
const exampleSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// exampleNames returns the names of the examples.
func exampleNames(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(exampleDir + "/*/parley.yaml")
	if err != nil || len(files) < 6 {
		t.Fatalf("the examples are %v, %v", files, err)
	}
	names := make([]string, 0, len(files))
	for _, file := range files {
		names = append(names, filepath.Base(filepath.Dir(file)))
	}
	return names
}

// example is the configuration of an example, as a test wants it: with secrets,
// free ports and workflows in which what is public is what runs here.
type example struct {
	t   *testing.T
	dir string
	env Env
	c   *cli
	cfg *Config
}

// readExample reads the example. The replacements, given as old and new text,
// shorten times and lead calls to the test; each must be there.
func readExample(t *testing.T, name string, replace ...string) *example {
	t.Helper()
	dir := t.TempDir()
	from := filepath.Join(exampleDir, name)
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(exampleSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := Env{
		"PARLEY_BUS_DIR": filepath.Join(dir, "nats"), "PARLEY_BUS_LISTEN": "127.0.0.1:0", "PARLEY_INGEST_LISTEN": "127.0.0.1:0",
		"PARLEY_WORKFLOWS_PRIVATE": "true", "PARLEY_WORKER_NAME": "example", "PARLEY_TELEMETRY_LEVEL": "error",
	}
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(from), ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(from, file))
		all[file] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(replace); i += 2 {
		there := false
		for file, text := range all {
			there = there || strings.Contains(text, replace[i])
			all[file] = strings.ReplaceAll(text, replace[i], replace[i+1])
		}
		if !there {
			t.Fatalf("nothing in the example %s says %q", name, replace[i])
		}
	}
	for file, text := range all {
		for _, found := range regexp.MustCompile(`\benv:([A-Z_]+)`).FindAllStringSubmatch(text, -1) {
			env[found[1]] = secret
		}
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	process := Process{Env: env, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard}
	c, err := process.prepare(&common{Config: filepath.Join(dir, ConfigFile)})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := c.config()
	if err != nil {
		t.Fatal(err)
	}
	return &example{t, dir, env, c, cfg}
}

// TestExamplesLint shows that the linter has nothing to say of any example, and
// that the configurations are right.
func TestExamplesLint(t *testing.T) {
	t.Parallel()
	for _, name := range exampleNames(t) {
		var out, problems bytes.Buffer
		code := Publisher(t.Context(), Process{
			Args: []string{"workflows", "lint", "--strict", "-c", filepath.Join(exampleDir, name, ConfigFile)}, Env: Env{},
			Stdin: strings.NewReader(""), Stdout: &out, Stderr: &problems,
		})
		if code != 0 || !strings.Contains(out.String(), "without an error, 0 warnings") {
			t.Errorf("the example %s: %s%s", name, out.String(), problems.String())
		}
		x := readExample(t, name)
		if _, err := x.cfg.mounts(x.env); err != nil {
			t.Errorf("the sources of %s: %v", name, err)
		}
		readme, err := os.ReadFile(filepath.Join(exampleDir, "README.md"))
		if err != nil || !strings.Contains(string(readme), "]("+name+"/") {
			t.Errorf("the README does not lead to %s: %v", name, err)
		}
	}
}

// running is an example that runs: a worker that takes events and runs the
// workflows, and no browser. The test plays the browsers and whom workflows call.
type running struct {
	*example
	system *System
	bus    *bus.Bus
	calls  *callLedger

	answered map[string]bool // ids of commands
}

// callLedger is a receiver of workflows' calls, which checks their signatures.
type callLedger struct {
	*httptest.Server
	mu    sync.Mutex
	calls []string          // path and body
	ids   map[string]int    // how often each id came
	says  map[string]string // the answer to a path; its first word is the status
}

func receiveCalls(t *testing.T) *callLedger {
	t.Helper()
	l := &callLedger{ids: map[string]int{}, says: map[string]string{}}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		id, err := ingest.StandardWebhook([][]byte{[]byte(exampleSecret)}, r.Header, body, time.Now())
		if err != nil {
			t.Errorf("the call to %s is not signed: %v", r.URL.Path, err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.calls = append(l.calls, r.URL.Path+" "+string(body))
		l.ids[id]++
		if text, ok := l.says[r.URL.Path]; ok {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, text) // The caller may be gone.
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(l.Close)
	return l
}

// came returns the calls, and whether one came twice.
func (l *callLedger) came() (calls []string, twice bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.ids {
		twice = twice || n > 1
	}
	return slices.Clone(l.calls), twice
}

// runExample starts the example.
func runExample(t *testing.T, name string, calls *callLedger, replace ...string) *running {
	t.Helper()
	return readExample(t, name, replace...).run(calls, roleWorkflows, roleIngest)
}

// run starts a worker with the roles, until the test ends.
func (x *example) run(calls *callLedger, roles ...string) *running {
	x.t.Helper()
	x.cfg.Worker.Roles = roles
	return x.runWith(Parts{}, calls)
}

// runWith starts a worker with the parts, until the test ends.
func (x *example) runWith(parts Parts, calls *callLedger) *running {
	t := x.t
	t.Helper()
	rules, err := LoadRules(x.cfg, x.c.catalog, x.c.schemas)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	parts.Catalog, parts.Schemas, parts.Env, parts.Rules = x.c.catalog, x.c.schemas, x.env, rules
	system, err := Start(ctx, bustest.Log(t), x.cfg, parts)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- system.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := system.Close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	return &running{example: x, system: system, bus: system.bus, calls: calls, answered: map[string]bool{}}
}

// post has an event come in, as its sender would send it. The path is below the
// edge's address; TOKEN in it stands for the token.
func (r *running) post(path, body string) {
	r.t.Helper()
	address := "http://" + r.system.edge.address() + strings.ReplaceAll(path, "TOKEN", exampleSecret)
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+exampleSecret)
	request.Header.Set("X-Parley-Secret", exampleSecret)
	if strings.HasPrefix(path, "/v1/") {
		request.SetBasicAuth(exampleSecret, "")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }() // Nothing is written to it.
	said, _ := io.ReadAll(response.Body)         // For the message only.
	if response.StatusCode/100 != 2 {
		r.t.Fatalf("the event %s is answered %s: %s", body, response.Status, said)
	}
}

// fact publishes a fact, as a worker would.
func (r *running) fact(name string, site string, v event.Visitor, data func(event.Occurrence) any) {
	r.t.Helper()
	session := event.SessionKey(site, v)
	e, err := event.New("/workers/w1", event.FactType("botstar", name), session, data(event.Occurrence{
		Site: site, Session: session, Provider: "botstar", At: time.Now().UTC(), Cause: event.CauseVisitor,
	}))
	if err == nil {
		_, err = r.bus.Publish(r.t.Context(), event.FactSubject("botstar", name, site, session), e)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// envelopes returns the messages of the filter on the workflows' stream.
func (r *running) envelopes(filter string) []event.Envelope {
	r.t.Helper()
	var all []event.Envelope
	for d, err := range r.bus.Read(r.t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{filter}}) {
		if err != nil {
			r.t.Fatal(err)
		}
		e, err := d.Envelope()
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// commands returns the commands in their order: site, action and parameters.
func (r *running) commands() []string {
	var all []string
	for _, e := range r.envelopes("go.*.*.*.*.*.*") {
		var command event.Command
		if err := json.Unmarshal(e.Data, &command); err != nil {
			r.t.Fatal(err)
		}
		action, _ := event.ActionOfType(e.Type)
		all = append(all, command.Site+" "+strings.TrimPrefix(action, "botstar.")+" "+string(command.Params))
	}
	return all
}

// emitted returns what workflows emitted: the name and the properties.
func (r *running) emitted() []string {
	var all []string
	for _, e := range r.envelopes("in.*." + event.KindEmitted + ".*.*") {
		var data event.Trigger
		if err := json.Unmarshal(e.Data, &data); err != nil {
			r.t.Fatal(err)
		}
		properties, err := json.Marshal(data.Properties)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, data.Event+" "+string(properties))
	}
	return all
}

// runs returns the runs by workflow and status, with how often each is there.
func (r *running) runs() map[string]int {
	r.t.Helper()
	seen, all := map[string]bool{}, map[string]int{}
	for run, err := range engine.ListRuns(r.t.Context(), r.bus, engine.Filter{}) {
		if err != nil {
			r.t.Fatal(err)
		}
		if !seen[run.ID] {
			all[run.Workflow+" "+string(run.Status)]++
		}
		seen[run.ID] = true
	}
	return all
}

// wants waits until what there is is what is wanted.
func wants[T any](r *running, want T, get func() T) {
	r.t.Helper()
	difference := ""
	defer func() {
		if difference != "" {
			r.t.Logf("(-want +got):\n%s", difference)
		}
	}()
	bustest.Until(r.t, "what is wanted is there", func() bool {
		difference = cmp.Diff(want, get())
		return difference == ""
	})
}

// wantCommands, wantEmitted, wantRuns and wantCalls wait for all that there is of
// a kind.
func (r *running) wantCommands(want ...string) { r.t.Helper(); wants(r, want, r.commands) }
func (r *running) wantEmitted(want ...string)  { r.t.Helper(); wants(r, want, r.emitted) }

func (r *running) wantRuns(want ...string) {
	r.t.Helper()
	counted := map[string]int{}
	for _, one := range want {
		counted[one]++
	}
	wants(r, counted, r.runs)
}

func (r *running) wantCalls(want ...string) {
	r.t.Helper()
	wants(r, want, func() []string { calls, _ := r.calls.came(); return calls })
	if _, twice := r.calls.came(); twice {
		r.t.Error("a call was made twice")
	}
}

// answer answers every command that waits, as a worker would. The actions that
// are named fail; outputs are by the action's name.
func (r *running) answer(outputs map[string]string, failing ...string) {
	r.t.Helper()
	for _, e := range r.envelopes("go.*.*.*.*.*.*") {
		if r.answered[e.ID] {
			continue
		}
		r.answered[e.ID] = true
		var command event.Command
		if err := json.Unmarshal(e.Data, &command); err != nil {
			r.t.Fatal(err)
		}
		action, _ := event.ActionOfType(e.Type)
		result := event.Result{
			CommandID: e.ID, CommandSource: e.Source, Action: action, Site: command.Site, Session: e.Subject, Status: event.Succeeded,
			Verified: true, Verdict: event.Confirmed, Executor: "headless", StartedAt: time.Now().UTC(), Attempt: 1,
		}
		if output, ok := outputs[action]; ok {
			result.Output = json.RawMessage(output)
		}
		if slices.Contains(failing, action) {
			result.Status, result.Verified, result.Verdict = event.Failed, false, event.Unconfirmed
			result.Problem = &event.Problem{Code: "UNAVAILABLE", Reason: "widget_not_ready", Message: "the widget did not become ready"}
		}
		answer, err := event.New("/workers/w1", event.ResultType(action), e.Subject, result)
		if err == nil {
			_, err = r.bus.Publish(r.t.Context(), event.ResultSubject(action, command.Site, e.Subject), answer)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// due returns how long the waits of the runs under way are, by workflow.
func (r *running) due() map[string]time.Duration {
	r.t.Helper()
	all := map[string]time.Duration{}
	for run, err := range engine.ListRuns(r.t.Context(), r.bus, engine.Filter{Status: machine.Running}) {
		if err != nil {
			r.t.Fatal(err)
		}
		for _, thread := range run.Threads {
			if thread.Wait != nil && !thread.Wait.Due.IsZero() {
				all[run.Workflow] = thread.Wait.Due.Sub(thread.Wait.Since)
			}
		}
	}
	return all
}

// timers returns how many timers are set on the bus.
func (r *running) timers() int {
	r.t.Helper()
	n := 0
	for _, err := range r.bus.LastEach(r.t.Context(), "timer.>") {
		if err != nil {
			r.t.Fatal(err)
		}
		n++
	}
	return n
}

func (r *running) waits(want map[string]time.Duration) { r.t.Helper(); wants(r, want, r.due) }
