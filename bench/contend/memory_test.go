package contend

import (
	"os"
	"testing"
)

func TestParsePSS(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0-1 ---p 0 00:00 0 [rollup]\nRss:  82896 kB\nPss:   9730 kB\nPss_Dirty: 8114 kB\n": 9730 << 10,
		"Pss: 0 kB\n": 0,
		"Rss: 1 kB\n": -1,
		"Pss: x kB\n": -1,
	} {
		got, err := parsePSS([]byte(text))
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: got %d (%v), want %d", text, got, err, want)
		}
	}
}

// TestTheMemoryOfAllThatWasStarted: the contender's child and grandchild count,
// the contender does not.
func TestTheMemoryOfAllThatWasStarted(t *testing.T) {
	t.Parallel()
	script := `read s; echo '{}'; read o
		sh -c 'sleep 60 & wait' & echo '{"jobs":1}'; read o; kill $! $(cat /proc/$!/task/$!/children)`
	p, err := Start(t.Context(), []string{"sh", "-c", script}, Setup{}, false)
	if err != nil {
		t.Fatal(err)
	}
	before, err := p.Memory(t.Context())
	if err != nil || before != 0 {
		t.Errorf("before a child there are %d bytes (%v)", before, err)
	}
	if _, _, err := p.Round(t.Context(), Order{Jobs: 1}); err != nil {
		t.Fatal(err)
	}
	after, err := p.Memory(t.Context())
	if err != nil || after < int64(os.Getpagesize()) {
		t.Errorf("with two processes below there are %d bytes (%v)", after, err)
	}
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(below(all, p.cmd.Process.Pid)); n != 2 {
		t.Errorf("%d processes are below, want 2", n)
	}
	_ = p.Close() // The script is killed with what it has started.
}
