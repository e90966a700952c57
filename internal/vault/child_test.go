package vault_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/vault"
)

// TestChild is a process of its own, when it is given a job.
func TestChild(t *testing.T) { //nolint:paralleltest // It is alone in its process.
	if flag.NArg() != 1 {
		t.Skip("it is started by other tests")
	}
	if err := childProcess(flag.Arg(0)); err != nil {
		t.Fatal(err)
	}
}

// job is what a process of a test does.
type job struct {
	Do         string // race, rotate, refresh, hold or hold-hidden
	URL        string // of the bus
	Addr, SPKI string // of the vendors
	Keys, Seen string // files
	Names      []vault.Name
	Goroutines int
	Ahead      time.Duration // of the clock
}

// spawn starts a process. It is killed when the test ends.
func (w *world) spawn(j job) (*exec.Cmd, io.WriteCloser, *bufio.Scanner) {
	w.t.Helper()
	child := exec.CommandContext(context.WithoutCancel(w.t.Context()), os.Args[0],
		"-test.run=^TestChild$", "-test.timeout=50m", w.filled(j))
	child.Stderr = w.t.Output()
	in, err := child.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { kill(child) })
	lines := bufio.NewScanner(out)
	return child, in, lines
}

// filled returns the job as a process reads it, with where it finds everything.
func (w *world) filled(j job) string {
	w.t.Helper()
	j.URL, j.Addr, j.SPKI = w.bus.URL(), w.hosts.Addr(), w.hosts.SPKI()
	text, err := json.Marshal(j)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// kill is kill -9, and the wait for the end.
func kill(child *exec.Cmd) {
	_ = child.Process.Kill()
	_ = child.Wait()
}

// childProcess does the job.
func childProcess(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	if j.Do == "hold-hidden" {
		if err := vault.NoDumps(); err != nil {
			return err
		}
	}
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	b, err := bus.Open(ctx, log, bus.Options{URL: j.URL, Name: "child"})
	if err != nil {
		return err
	}
	kv, err := b.KV(ctx, bus.BucketVault)
	if err != nil {
		return err
	}
	master, err := vault.ReadMaster(j.Keys)
	if err != nil {
		return err
	}
	var now clock
	now.push(j.Ahead)
	v, err := vault.Open(ctx, log, kv, master, vault.Options{
		Client: pinned(j.Addr, j.SPKI), Seen: j.Seen, Now: now.Now, Confirm: 10 * time.Millisecond,
		CallTimeout: 2 * time.Second, LeaseLife: leaseOf(j.Do),
	})
	if err != nil {
		return err
	}
	say("ready")
	switch j.Do {
	case "race":
		err = race(ctx, v, &now, j)
	case "rotate":
		err = rotate(ctx, log, kv, j)
	case "calls":
		err = underWay(ctx, v, j)
	case "hold", "hold-hidden":
		err = v.Source(j.Names[0]).Do(ctx, hold)
	case "refresh":
		for err == nil {
			_, err = v.Rotate(ctx, j.Names[0])
			now.push(time.Minute) // The breaker is not what is tested here.
		}
	}
	return err
}

// hold uses the token until the process is killed.
func hold(ctx context.Context, got vault.Token) error {
	header := http.Header{}
	got.Authorize(header) // As a call to a vendor has it.
	say("holding")
	<-ctx.Done()
	return fmt.Errorf("%d headers: %w", len(header), ctx.Err())
}

// leaseOf is short where the leases of the dead are waited for.
func leaseOf(do string) time.Duration {
	if do == "refresh" {
		return time.Second
	}
	return 0
}

func say(words ...any) { _, _ = fmt.Fprintln(os.Stdout, words...) }

// race asks for a token in many goroutines at once, at each time that it is
// told, and says which tokens it got.
func race(ctx context.Context, v *vault.Vault, now *clock, j job) error {
	source := v.Source(j.Names[0])
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		at, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			return err
		}
		now.set(time.Unix(0, at))
		got := make([]string, j.Goroutines)
		var all sync.WaitGroup
		for i := range got {
			all.Go(func() {
				_, t, end, err := source.Token(ctx)
				if err != nil {
					got[i] = "failed:" + strings.ReplaceAll(err.Error(), " ", "_")
					return
				}
				end()
				got[i] = t.Secret.Fingerprint()
			})
		}
		all.Wait()
		slices.Sort(got)
		say(strings.Join(slices.Compact(got), " "))
	}
	return nil
}

// rotate changes the master key and the records' tokens without end.
func rotate(ctx context.Context, log *slog.Logger, kv *bus.KV, j job) error {
	for n := 0; ; n++ {
		master, err := vault.ReadMaster(j.Keys)
		if err != nil {
			return err
		}
		for _, change := range []func(*vault.Master) (*vault.Master, error){
			(*vault.Master).Added, (*vault.Master).Promoted, nil, (*vault.Master).Retired,
		} {
			if change == nil { // Everything is sealed anew before the old key goes.
				v, err := vault.Open(ctx, log, kv, master, vault.Options{})
				if err != nil {
					return err
				}
				for _, name := range j.Names {
					if _, err := v.RotateToken(ctx, name, vault.NewSecret(fmt.Sprintf("token-%s-%d-%d", name.Site, os.Getpid(), n)), time.Hour); err != nil {
						return err
					}
				}
				if _, err := v.Reseal(ctx); err != nil {
					return err
				}
				continue
			}
			if master, err = change(master); err != nil {
				return err
			}
			if err := vault.WriteMaster(j.Keys, master); err != nil {
				return err
			}
		}
		say("round", n)
	}
}

// lineOf returns the next line that the process says.
func lineOf(t testing.TB, lines *bufio.Scanner) string {
	t.Helper()
	if !lines.Scan() {
		t.Fatalf("the process ended: %v", lines.Err())
	}
	return lines.Text()
}
