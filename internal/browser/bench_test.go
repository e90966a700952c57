//go:build browser

package browser

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func newBenchPool(b *testing.B, o Options) *Pool {
	b.Helper()
	p, err := New(slog.New(slog.DiscardHandler), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = p.Close(context.Background()) })
	if err := p.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	return p
}

// BenchmarkCall is one call after another in a held tab.
func BenchmarkCall(b *testing.B) {
	p := newBenchPool(b, benchOptions(b, nil))
	tab, err := p.Open(b.Context(), lightRequest(""))
	if err != nil {
		b.Fatal(err)
	}
	arg := map[string]string{"key": "0123456789abcdef", "fence": "1"}
	var times []time.Duration
	for b.Loop() {
		begun := time.Now()
		var out map[string]string
		if err := tab.Call(b.Context(), "echo", arg, &out); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(begun))
	}
	report(b, times)
}

// BenchmarkRawCall is the same call with nothing of ours between: bytes into
// the pipe, bytes out of it.
func BenchmarkRawCall(b *testing.B) {
	raw := newRaw(b)
	raw.ask(`"method":"Target.createTarget","params":{"url":"about:blank"}`)
	id := raw.field("targetId")
	raw.ask(`"method":"Target.attachToTarget","params":{"targetId":"` + id + `","flatten":true}`)
	session := raw.field("sessionId")
	raw.ask(`"sessionId":"` + session + `","method":"Runtime.evaluate","params":{"expression":` + string(text(mainScript("x")+";1")) + `}`)
	raw.ask(`"sessionId":"` + session + `","method":"Runtime.evaluate","params":{"expression":"globalThis"}`)
	object := raw.field("objectId")
	command := `"sessionId":"` + session + `","method":"Runtime.callFunctionOn","params":{"functionDeclaration":` + string(text(callText)) +
		`,"objectId":"` + object + `","arguments":[{"value":"echo"},{"value":"{\"key\":\"0123456789abcdef\",\"fence\":\"1\"}"}],"awaitPromise":true,"returnByValue":true}`
	var times []time.Duration
	for b.Loop() {
		begun := time.Now()
		raw.ask(command)
		times = append(times, time.Since(begun))
	}
	if !strings.Contains(raw.last, `\"ok\":true`) {
		b.Fatal(raw.last)
	}
	report(b, times)
}

// BenchmarkOpenLight is a new session with a light page, from Open to the
// first answer, and its end.
func BenchmarkOpenLight(b *testing.B) {
	o := benchOptions(b, pages(map[string]string{"/widget.js": benchWidget, "/frame": benchFrame}))
	benchOpen(b, newBenchPool(b, o), lightRequest(benchBody))
}

// BenchmarkOpenFull is the same with the whole page.
func BenchmarkOpenFull(b *testing.B) {
	o := benchOptions(b, pages(map[string]string{
		"/":          "<title>shop</title>" + strings.Repeat("<div class=a><p>text <b>text</b></div>", 2000) + `<img src="/a.png"><img src="/b.png">` + benchBody,
		"/widget.js": benchWidget, "/frame": benchFrame,
	}))
	benchOpen(b, newBenchPool(b, o), fullRequest("/"))
}

// The stand-in for a vendor: a script of 100 KB that opens a frame of another
// site, which answers.
const benchBody = `<body><script>
var booted = new Promise((done) => addEventListener("message", (e) => { if (e.origin === "https://` + widgetHost + `") done(e.data); }));
function boot() { return booted; }
</script><script async src="https://` + widgetHost + `/widget.js"></script>`

var benchWidget = "/*" + strings.Repeat("widget ", 14000) + "*/" + `
const f = document.createElement("iframe"); f.src = "https://` + widgetHost + `/frame"; document.body.append(f);`

const benchFrame = `<script>localStorage.setItem("id", Math.random()); parent.postMessage(1, "*")</script>`

func benchOpen(b *testing.B, p *Pool, r Request) {
	b.Helper()
	var times []time.Duration
	for range 3 {
		benchSession(b, p, r)
	}
	k := light
	if r.Light == "" {
		k = full
	}
	p.mu.Lock()
	group := p.procs[k][0].cmd.Process.Pid
	p.mu.Unlock()
	own, theirs := ownCPU(), groupCPU(group)
	for b.Loop() {
		times = append(times, benchSession(b, p, r))
	}
	n := float64(len(times))
	b.ReportMetric((groupCPU(group)-theirs).Seconds()*1000/n, "chromium-cpu-ms/op")
	b.ReportMetric((ownCPU()-own).Seconds()*1000/n, "own-cpu-ms/op")
	report(b, times)
}

func benchSession(b *testing.B, p *Pool, r Request) time.Duration {
	b.Helper()
	begun := time.Now()
	tab, err := p.Open(b.Context(), r)
	if err != nil {
		b.Fatal(err)
	}
	if err := tab.Call(b.Context(), "run", map[string]any{"name": "boot"}, nil); err != nil {
		b.Fatal(err)
	}
	took := time.Since(begun)
	if err := tab.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	return took
}

func report(b *testing.B, times []time.Duration) {
	b.Helper()
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-us")
}

func benchOptions(b *testing.B, h http.Handler) Options {
	b.Helper()
	if h == nil {
		h = pages(nil)
	}
	return newSite(b, h).options(b)
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// groupCPU is the processor time of the group's processes, of those that have
// ended too.
func groupCPU(group int) time.Duration {
	const tick = 10 * time.Millisecond
	var ticks int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(raw), ") ")
		f := strings.Fields(rest)
		if len(f) < 15 || f[2] != strconv.Itoa(group) {
			continue
		}
		for _, field := range f[11:15] {
			n, _ := strconv.Atoi(field)
			ticks += n
		}
	}
	return time.Duration(ticks) * tick
}

// A raw is a browser whose pipe is used by hand.
type raw struct {
	b    *testing.B
	out  *os.File
	in   *bufio.Reader
	id   int
	last string
}

func newRaw(b *testing.B) *raw {
	b.Helper()
	l, err := newLauncher(b.Context(), slog.New(slog.DiscardHandler), Options{Dir: scratch(b)}.filled())
	if err != nil {
		b.Fatal(err)
	}
	dir, err := l.folder()
	if err != nil {
		b.Fatal(err)
	}
	files, err := newPipes()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(l.bin.path, flags(l.bin, light, filepath.Join(dir, "profile"), "http://127.0.0.1:1", l.opts)...)
	cmd.ExtraFiles = []*os.File{files.childIn, files.childOut}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	files.closeChild()
	b.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		files.closeOurs()
		l.close()
	})
	return &raw{b: b, out: files.out, in: bufio.NewReader(files.in)}
}

func (r *raw) ask(command string) {
	r.id++
	if _, err := fmt.Fprintf(r.out, "{\"id\":%d,%s}\x00", r.id, command); err != nil {
		r.b.Fatal(err)
	}
	prefix := fmt.Sprintf(`{"id":%d,`, r.id)
	for !strings.HasPrefix(r.last, prefix) {
		line, err := r.in.ReadString(0)
		if err != nil {
			r.b.Fatal(err)
		}
		r.last = line
	}
}

func (r *raw) field(name string) string {
	_, rest, _ := strings.Cut(r.last, `"`+name+`":"`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}
