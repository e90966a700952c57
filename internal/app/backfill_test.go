package app

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

// filled is a bus to fill, and a configuration with one site.
type filled struct {
	t      testing.TB
	dir    string
	url    string
	bus    *bus.Bus
	server *bustest.Server
}

const filledConfig = `
sites:
  shop:
    app_id: s00000000-0000-0000-0000-000000000001
    domains: [shop.example.com]
ingest:
  sources:
    web: {type: segment, site: shop, open: true}
`

func fill(t testing.TB) filled {
	t.Helper()
	server := bustest.Serve(t)
	f := filled{t: t, dir: t.TempDir(), url: server.URL(), bus: server.Bus(), server: server}
	f.write("parley.yaml", []byte(filledConfig))
	return f
}

func (f filled) write(name string, text []byte) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// run runs the command, and returns its exit code, what it counted, and what it
// printed.
func (f filled) run(ctx context.Context, stderr io.Writer, args ...string) (code int, counted tally, lines []string, problem string) {
	f.t.Helper()
	var out, said bytes.Buffer
	p := Process{
		Args: append([]string{"backfill", "-c", filepath.Join(f.dir, "parley.yaml")}, args...), Env: Env{"PARLEY_BUS_URL": f.url},
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &said,
	}
	if stderr != nil {
		p.Stderr, p.Terminal.Err = stderr, true
	}
	code = Publisher(ctx, p)
	lines = strings.Split(strings.TrimSpace(out.String()), "\n")
	_ = json.Unmarshal([]byte(lines[len(lines)-1]), &counted) // There is none after a failure.
	return code, counted, lines[:len(lines)-1], said.String()
}

// stored returns the ids of the events of the filter, and how often each is
// there.
func (f filled) stored(filter string) map[string]int {
	f.t.Helper()
	ids := map[string]int{}
	for d, err := range f.bus.Read(f.t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{filter}}) {
		if err != nil {
			f.t.Fatal(err)
		}
		e, err := d.Envelope()
		if err != nil {
			f.t.Fatal(err)
		}
		ids[e.ID]++
	}
	return ids
}

func exported(i int) string {
	return fmt.Sprintf(`{"event_timestamp":"%d","event_name":"page_view","user_pseudo_id":"c-%d","event_bundle_sequence_id":"1",`+
		`"event_params":[{"key":"page_location","value":{"string_value":"https://shop.example.com/p/%d"}}]}`, 1795168800000000+i, i%7, i) + "\n"
}

func rows(n int) string {
	var all strings.Builder
	for i := range n {
		all.WriteString(exported(i))
	}
	return all.String()
}

func packed(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Every row is stored once, whatever is done again; and what is wrong is told.
func TestBackfillStoresEachRowOnce(t *testing.T) {
	t.Parallel()
	f := fill(t)
	const good = 600
	file := f.write("rows.json.gz", packed(t, rows(good)+exported(3)+"\n"+`{"event_name":"a"}`+"\n"+
		strings.Replace(exported(9999), "shop.example.com", "other.example.com", 1)+exported(4)))
	code, counted, lines, problem := f.run(t.Context(), nil, file, "--source", "ga4export")
	want := tally{Lines: good + 5, Stored: good, Duplicate: 2, Rejected: 2}
	if code != 1 || counted != want {
		t.Fatalf("the command ends with %d and %+v, want %+v\n%s", code, counted, want, problem)
	}
	var complaints []complaint
	for _, line := range lines {
		var one complaint
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		complaints = append(complaints, one)
	}
	if len(complaints) != 2 || complaints[0].Line != good+3 || complaints[0].Problem.Field != "/user_pseudo_id" ||
		complaints[1].Line != good+4 || complaints[1].Problem.Reason != "unmapped_domain" {
		t.Errorf("the complaints are %s", lines)
	}
	check := func() {
		t.Helper()
		past, live := f.stored(event.PastFilter()), f.stored(event.TriggerFilter())
		if len(past) != good || len(live) != 0 {
			t.Errorf("%d past and %d live events are stored, want %d and 0", len(past), len(live), good)
		}
		for id, n := range past {
			if n != 1 {
				t.Errorf("the event %s is stored %d times", id, n)
			}
		}
	}
	check()
	if code, again, _, _ := f.run(t.Context(), nil, file, "--source", "ga4export"); code != 1 || again != want {
		t.Errorf("done already, it ends with %d and %+v", code, again)
	}
	code, anew, _, _ := f.run(t.Context(), nil, file, "--source", "ga4export", "--restart")
	if want := (tally{Lines: good + 5, Duplicate: good + 2, Rejected: 2}); code != 1 || anew != want {
		t.Errorf("begun anew, it ends with %d and %+v, want %+v", code, anew, want)
	}
	check()
	rejected := 0
	for _, err := range f.bus.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamDead}) {
		if err != nil {
			t.Fatal(err)
		}
		rejected++
	}
	if rejected != 2 {
		t.Errorf("%d events are on the rejected list, want 2", rejected)
	}
}

// stopper is a terminal that interrupts what shows its progress there. The log of
// the connection is written there as well.
type stopper struct {
	stop func(error)

	mu    sync.Mutex // guards the fields below
	after int
	shown bytes.Buffer
}

func (s *stopper) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String()
}

// Write implements io.Writer.
func (s *stopper) Write(p []byte) (int, error) {
	s.mu.Lock()
	s.after--
	stop := s.after == 0
	n, err := s.shown.Write(p)
	s.mu.Unlock()
	if stop {
		s.stop(context.Canceled)
	}
	return n, err
}

// A back-fill may be stopped any number of times, in plain and in packed files:
// no line is left out, and none is read again.
func TestBackfillGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	const good = 3000
	for name, text := range map[string][]byte{"rows.json": []byte(rows(good)), "rows.json.gz": packed(t, rows(good))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fill(t)
			file := f.write(name, text)
			stops := 0
			for {
				ctx, cancel := context.WithCancelCause(t.Context())
				terminal := &stopper{stop: cancel, after: 2}
				code, counted, _, _ := f.run(ctx, terminal, file, "--source", "ga4export", "--rate", "1500")
				cancel(nil)
				if code == 0 {
					if want := (tally{Lines: good, Stored: good}); counted != want {
						t.Errorf("it counts %+v, want %+v", counted, want)
					}
					break
				}
				if stops++; code != 130 || !strings.Contains(terminal.text(), "goes on") || stops > 50 {
					t.Fatalf("the stop %d ends with %d:\n%s", stops, code, terminal.text())
				}
			}
			if stops == 0 {
				t.Error("it was never stopped")
			}
			if past := f.stored(event.PastFilter()); len(past) != good {
				t.Errorf("%d events are stored, want %d", len(past), good)
			}
		})
	}
}

// A server that goes away and comes back costs time, and no event.
func TestBackfillOutlivesTheServer(t *testing.T) {
	t.Parallel()
	f := fill(t)
	const good = 1000
	file := f.write("rows.json", []byte(rows(good)))
	back := make(chan struct{})
	terminal := &stopper{after: 2, stop: func(error) {
		f.server.Stop()
		go func() {
			defer close(back)
			f.server.Start()
		}()
	}}
	code, counted, _, _ := f.run(t.Context(), terminal, file, "--source", "ga4export", "--rate", "1500")
	<-back
	// What was stored just before the answer got lost is a duplicate then.
	if counted.Lines != good || counted.Stored+counted.Duplicate != good || code != 0 {
		t.Errorf("it ends with %d and %+v:\n%s", code, counted, terminal.text())
	}
	past := f.stored(event.PastFilter())
	for id, n := range past {
		if n != 1 {
			t.Errorf("the event %s is stored %d times", id, n)
		}
	}
	if len(past) != good {
		t.Errorf("%d events are stored, want %d", len(past), good)
	}
}

// Events of a source's own form are those of the source: what came live already
// is not stored again.
func TestBackfillOfASource(t *testing.T) {
	t.Parallel()
	f := fill(t)
	call := func(i int) string {
		return fmt.Sprintf(`{"type":"track","event":"Seen","messageId":"m-%d","userId":"u-42","timestamp":"2026-11-01T00:00:00Z"}`, i) + "\n"
	}
	first := f.write("first.ndjson", []byte(call(1)+call(2)+"[1,\n"))
	code, counted, _, problem := f.run(t.Context(), nil, first, "--source", "web", "--live", "--state", filepath.Join(f.dir, "s1"))
	if want := (tally{Lines: 3, Stored: 2, Rejected: 1}); code != 1 || counted != want {
		t.Errorf("live it ends with %d and %+v: %s", code, counted, problem)
	}
	if live := f.stored(event.TriggerFilter()); !cmp.Equal(live, map[string]int{"m-1": 1, "m-2": 1}) {
		t.Errorf("the live events are %v", live)
	}
	second := f.write("second.ndjson", []byte(call(2)+call(3)))
	code, counted, _, problem = f.run(t.Context(), nil, second, "--source", "web")
	if want := (tally{Lines: 2, Stored: 1, Duplicate: 1}); code != 0 || counted != want {
		t.Errorf("it ends with %d and %+v: %s", code, counted, problem)
	}
	code, counted, _, problem = f.run(t.Context(), nil, second, "--source", "segment", "--site", "shop", "--state", filepath.Join(f.dir, "s2"))
	if want := (tally{Lines: 2, Stored: 2}); code != 0 || counted != want {
		t.Errorf("as another source it ends with %d and %+v: %s", code, counted, problem)
	}
}

func TestBackfillDryRun(t *testing.T) {
	t.Parallel()
	f := filled{t: t, dir: t.TempDir(), url: "nats://127.0.0.1:1"} // Nobody is there.
	f.write("parley.yaml", []byte(filledConfig))
	file := f.write("rows.json", []byte(rows(10)+"{}\n"))
	code, counted, lines, problem := f.run(t.Context(), nil, file, "--source", "ga4export", "--dry-run")
	if want := (tally{Lines: 11, Stored: 10, Rejected: 1}); code != 1 || counted != want || len(lines) != 1 {
		t.Errorf("it ends with %d and %+v, %s: %s", code, counted, lines, problem)
	}
	if _, err := os.Stat(file + ".backfill.json"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a state: %v", err)
	}
}

func TestBackfillRefuses(t *testing.T) {
	t.Parallel()
	f := fill(t)
	file := f.write("rows.json", []byte(rows(3)))
	if code, _, _, problem := f.run(t.Context(), nil, file, "--source", "ga4export"); code != 0 {
		t.Fatal(problem)
	}
	state := file + ".backfill.json"
	changed := f.write("changed.json", []byte(rows(1)))
	if code, _, _, problem := f.run(t.Context(), nil, changed, "--source", "ga4export", "--state", filepath.Join(f.dir, "s")); code != 0 {
		t.Fatal(problem)
	}
	f.write("changed.json", []byte(rows(2)))
	broken := f.write("broken.json", []byte("{"))
	damaged := f.write("damaged.gz", packed(t, rows(400))[:2000])
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"a source that is none":  {[]string{file, "--source", "segmnt"}, "neither a source nor a type"},
		"a type without lines":   {[]string{file, "--source", "tracking"}, "not one line each"},
		"the state of another":   {[]string{file, "--source", "web", "--state", state}, `belongs to a back-fill of the source "ga4export"`},
		"a state that is none":   {[]string{file, "--source", "web", "--state", broken}, "reading the state"},
		"a file that changed":    {[]string{changed, "--source", "ga4export", "--state", filepath.Join(f.dir, "s")}, "has changed"},
		"a file that is away":    {[]string{filepath.Join(f.dir, "none"), "--source", "ga4export"}, "none"},
		"a directory":            {[]string{f.dir, "--source", "ga4export", "--state", filepath.Join(f.dir, "s3")}, "is a directory"},
		"a damaged packed file":  {[]string{damaged, "--source", "ga4export"}, "unexpected EOF"},
		"a site that is unknown": {[]string{file, "--source", "ga4export", "--site", "shp"}, `did you mean shop`},
		"no place for the state": {[]string{file, "--source", "ga4export", "--state", filepath.Join(f.dir, "no", "s")}, "--state"},
	} {
		code, _, _, problem := f.run(t.Context(), nil, test.args...)
		if code == 0 || !strings.Contains(problem, test.says) {
			t.Errorf("%s ends with %d: %s", name, code, problem)
		}
	}
	if n := len(f.stored(event.PastFilter())); n <= 3 {
		t.Errorf("%d events are stored: none of those before the damage", n)
	}
}

func TestLinesOfAFile(t *testing.T) {
	t.Parallel()
	type line struct {
		Text string
		Long bool
	}
	long := strings.Repeat("x", maxLine)
	text := "a\r\n\nb\n" + long + "\n" + long + "y\n" + long + long + "\nlast"
	want := []line{{"a", false}, {"", false}, {"b", false}, {long, false}, {long + "y", true}, {long + "x", true}, {"last", false}}
	f := filled{t: t, dir: t.TempDir()}
	for name, content := range map[string][]byte{"plain": []byte(text), "packed": packed(t, text), "empty": nil} {
		path := f.write(name, content)
		expected := want
		if name == "empty" {
			expected = nil
		}
		for from := 0; from <= len(expected); from++ {
			lines, err := openLines(path)
			if err != nil {
				t.Fatal(err)
			}
			var places [][2]int64
			read := func() (all []line) {
				for {
					places = append(places, [2]int64{lines.offset, lines.line})
					text, long, err := lines.next()
					if errors.Is(err, io.EOF) {
						return all
					}
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, line{string(text), long})
				}
			}
			if got := read(); !cmp.Equal(got, expected) {
				t.Fatalf("%s: the lines are %.100v", name, fmt.Sprint(got))
			}
			lines.close()
			if lines, err = openLines(path); err != nil {
				t.Fatal(err)
			}
			at := places[from]
			if err := lines.skip(at[0], at[1]); err != nil {
				t.Fatal(err)
			}
			if got := read(); len(got) != len(expected)-from || len(got) > 0 && !cmp.Equal(got, expected[from:]) {
				t.Errorf("%s: from line %d on there are %d lines", name, from, len(got))
			}
			if d := lines.done(); d != 1 {
				t.Errorf("%s: read to the end, %f of it is done", name, d)
			}
			lines.close()
		}
	}
}

func BenchmarkBackfill(b *testing.B) {
	f := fill(b)
	file := f.write("rows.json", []byte(rows(b.N)))
	b.ResetTimer()
	if code, counted, _, problem := f.run(b.Context(), nil, file, "--source", "ga4export"); code != 0 || counted.Stored != int64(b.N) {
		b.Errorf("it ends with %d and %+v: %s", code, counted, problem)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
