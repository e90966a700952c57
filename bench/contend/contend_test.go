package contend

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// burner is a contender for the tests: each of its jobs burns a hundredth of a
// second of CPU time in this process.
type burner struct{ fail bool }

func (b burner) Round(o Order) (Report, error) {
	if b.fail {
		return Report{}, errors.New("no fuel")
	}
	begun, n := burnt(), 0
	for burnt()-begun < time.Duration(o.Jobs)*tick {
		n++
	}
	return Report{Jobs: o.Jobs, WallUS: float64(n)}, nil
}

func (burner) Close() error { return nil }

// burnt is the CPU time of this process.
func burnt() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return time.Hour
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// TestMain lets this test program be its own contender.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "contender" {
		err := Serve(os.Stdin, os.Stdout, func(s Setup) (Job, error) {
			if s.Job == "none" {
				return nil, errors.New("no such job")
			}
			return burner{fail: s.Job == "fail"}, nil
		})
		if err != nil {
			os.Exit(1)
		}
		return
	}
	m.Run()
}

func command(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{self, "contender"}
}

func TestRoundMeasuresTheContendersOwnTime(t *testing.T) {
	t.Parallel()
	p, err := Start(t.Context(), command(t), Setup{Job: "burn"}, false)
	if err != nil {
		t.Fatal(err)
	}
	report, cost, err := p.Round(t.Context(), Order{Round: 1, Jobs: 40})
	if err != nil {
		t.Fatal(err)
	}
	if report.Jobs != 40 {
		t.Errorf("%d jobs, want 40", report.Jobs)
	}
	if cost.Client < 350*time.Millisecond || cost.Client > 700*time.Millisecond {
		t.Errorf("the client's cost is %s, want about 400ms", cost.Client)
	}
	if cost.Browser != 0 {
		t.Errorf("the browser's cost is %s, want none", cost.Browser)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestChildrenThatEndedAreCounted(t *testing.T) {
	t.Parallel()
	// The shell starts a shell that burns CPU time and ends, and answers then.
	script := `read s; echo '{}'; read o
		sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'
		echo '{"jobs":1}'; read o`
	p, err := Start(t.Context(), []string{"sh", "-c", script}, Setup{}, false)
	if err != nil {
		t.Fatal(err)
	}
	_, cost, err := p.Round(t.Context(), Order{Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	if cost.Browser < 2*tick {
		t.Errorf("the ended child cost %s, want more", cost.Browser)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestAFailureIsToldInTheContendersWords(t *testing.T) {
	t.Parallel()
	for job, want := range map[string]string{"none": "no such job", "fail": "no fuel"} {
		p, err := Start(t.Context(), command(t), Setup{Job: job}, false)
		if err == nil {
			_, _, err = p.Round(t.Context(), Order{Jobs: 1})
			_ = p.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got the error %v, want one with %q", job, err, want)
		}
	}
}

func TestTheContextsEndEndsTheContender(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	p, err := Start(ctx, command(t), Setup{Job: "burn"}, false)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := p.Close(); err == nil {
		t.Error("the contender ended well, want killed")
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	line := "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 5 6"
	id, got, err := parseStat([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	want := process{parent: 7, own: 1200 * time.Millisecond, children: 70 * time.Millisecond}
	if id != 42 || cmp.Diff(want, got, cmp.AllowUnexported(process{})) != "" {
		t.Errorf("got %d %+v, want 42 %+v", id, got, want)
	}
	for _, bad := range []string{"", "x (y) S 1", "1 (y", "1 (y) S x 1 1 0 -1 1 1 2 3 4 1 2 3 4"} {
		if _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
