package ours

import (
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"testing"

	"github.com/parley-chat/parley/bench/contend"
)

func TestZZ(t *testing.T) {
	job := os.Getenv("JOB")
	n := 20000
	s := contend.Setup{Job: job, Dir: t.TempDir(), Sessions: 10000, Window: 8}
	if job == "ingest-single" {
		s.Window = 64
		n = 6400
	}
	j, err := Start(s)
	if err != nil {
		t.Fatal(err)
	}
	f, _ := os.Create("/tmp/bench4.prof")
	for r := range 3 {
		o := contend.Order{Round: r, Jobs: n, Picks: make([]int, n)}
		for i := range o.Picks {
			o.Picks[i] = rand.IntN(s.Sessions)
		}
		o.Prepare = true
		if _, err := j.Round(o); err != nil {
			t.Fatal(err)
		}
		o.Prepare = false
		if r > 0 {
			pprof.StartCPUProfile(f)
		}
		rep, err := j.Round(o)
		if r == 1 {
			pprof.StopCPUProfile()
			f.Close()
			f, _ = os.Create("/tmp/bench4b.prof")
		}
		t.Log(float64(rep.Jobs)/rep.WallUS*1e6, err)
	}
	pprof.StopCPUProfile()
	j.Close()
}
