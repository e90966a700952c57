package session_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
)

// desk drives a Residency as a worker would, and holds it to its contract after
// each step. Tabs open and close at once, unless slow says that closings wait
// for close.
type desk struct {
	t       testing.TB
	r       *session.Residency
	now     time.Time
	slow    bool
	open    map[string]bool
	running map[string]bool
	waiting map[string]bool
	closing map[string]bool
	pinned  map[string]bool
	refused map[string]error
	log     []string
}

func newDesk(t testing.TB, o session.ResidencyOptions) *desk {
	t.Helper()
	return &desk{
		t: t, r: session.NewResidency(o), now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC),
		open: map[string]bool{}, running: map[string]bool{}, waiting: map[string]bool{},
		closing: map[string]bool{}, pinned: map[string]bool{}, refused: map[string]error{},
	}
}

// want begins a command of the session. It is true when its tab was open.
func (d *desk) want(key, site string, deadline time.Duration) (bool, error) {
	d.t.Helper()
	var until time.Time
	if deadline != 0 {
		until = d.now.Add(deadline)
	}
	delete(d.closing, key) // The command goes first.
	d.running[key] = true
	warm, err := d.r.Want(d.now, key, site, until)
	if warm != d.open[key] {
		d.t.Errorf("%s: the tab is open: %t, the policy says %t", key, d.open[key], warm)
	}
	if err == nil && !warm {
		d.waiting[key] = true
	}
	d.steps()
	return warm, err
}

func (d *desk) end(key string) {
	d.t.Helper()
	d.r.End(d.now, key)
	delete(d.running, key)
	delete(d.waiting, key)
	d.steps()
}

func (d *desk) closed(key string) {
	d.t.Helper()
	d.r.Closed(key)
	delete(d.open, key)
	delete(d.closing, key)
	delete(d.waiting, key)
	d.steps()
}

// visit is a command from its begin to its end.
func (d *desk) visit(key, site string) bool {
	d.t.Helper()
	warm, err := d.want(key, site, 0)
	if err != nil {
		d.t.Fatalf("%s was refused: %v", key, err)
	}
	d.end(key)
	return warm
}

func (d *desk) steps() {
	d.t.Helper()
	for range 10_000 {
		step, ok := d.r.Next(d.now)
		if !ok {
			return
		}
		d.do(step)
	}
	d.t.Fatal("the policy does not come to rest")
}

// do does one step, and says when it is against the contract.
func (d *desk) do(step session.Step) {
	d.t.Helper()
	key := step.Key
	switch step.Do {
	case session.OpenTab:
		d.log = append(d.log, "open "+key)
		if d.open[key] || !d.waiting[key] || !d.running[key] {
			d.t.Errorf("%s gets a tab: open %t, waiting %t, running %t", key, d.open[key], d.waiting[key], d.running[key])
		}
		d.open[key] = true
		delete(d.waiting, key)
	case session.CloseTab:
		d.log = append(d.log, "close "+key+" "+step.Why)
		if !d.open[key] || d.running[key] || d.pinned[key] || d.closing[key] {
			d.t.Errorf("%s gives way: open %t, running %t, pinned %t, closing %t", key, d.open[key], d.running[key], d.pinned[key], d.closing[key])
		}
		if d.slow {
			d.closing[key] = true
			return
		}
		delete(d.open, key)
		d.r.Closed(key)
	case session.RefuseTab:
		d.log = append(d.log, "refuse "+key)
		if !d.waiting[key] || step.Err == nil {
			d.t.Errorf("%s is refused: waiting %t, error %v", key, d.waiting[key], step.Err)
		}
		d.refused[key] = step.Err
		delete(d.waiting, key)
	}
}

// said returns what the policy said since the last time.
func (d *desk) said() []string {
	log := d.log
	d.log = nil
	return log
}

func (d *desk) wantSaid(want ...string) {
	d.t.Helper()
	if diff := cmp.Diff(want, d.said()); diff != "" {
		d.t.Error(diff)
	}
}

func TestTheLeastUsedGivesWay(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		visits []string // before the newcomer, one each second
		want   string
	}{
		{"the oldest of equals", []string{"a", "b", "c"}, "a"},
		{"the one that was used once", []string{"a", "a", "b", "c", "c"}, "b"},
		{"a regular stays before a passer-by", []string{"a", "b", "c", "a", "b", "a", "b", "a", "b", "c"}, "c"},
		{"of one conversation each, the one that ended first", []string{"a", "a", "a", "b", "b", "b", "c", "c", "c"}, "a"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, session.ResidencyOptions{Held: 3})
			for _, key := range test.visits {
				d.visit(key, "shop")
				d.now = d.now.Add(time.Second)
			}
			d.said()
			d.visit("new", "shop")
			d.wantSaid("close "+test.want+" evicted", "open new")
		})
	}
}

// TestUseIsRememberedWithoutATab: who came often gets its weight back with the
// next tab; a policy that forgets would let it go first again.
func TestUseIsRememberedWithoutATab(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 1, Remembered: 10})
	for range 20 {
		d.visit("regular", "shop")
	}
	d.visit("passer", "shop")
	d.visit("regular", "shop")
	d.r.Measured(1) // No limit of memory: changes nothing.
	two := newDesk(t, session.ResidencyOptions{Held: 2})
	for range 20 {
		two.visit("regular", "shop")
	}
	two.visit("x", "shop")
	two.now = two.now.Add(time.Second)
	two.closed("regular")
	two.visit("regular", "shop")
	two.now = two.now.Add(time.Second)
	two.visit("x", "shop")
	two.said()
	two.visit("y", "shop")
	two.wantSaid("close x evicted", "open y")
}

// TestARegularOutlivesAPasserBy: who comes every half minute keeps its tab for
// a while after the last time, though others came later.
func TestARegularOutlivesAPasserBy(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 2, Idle: time.Hour})
	for range 20 {
		d.visit("regular", "shop")
		d.now = d.now.Add(30 * time.Second)
	}
	d.now = d.now.Add(30 * time.Second)
	d.visit("passer", "shop")
	d.now = d.now.Add(time.Minute)
	d.said()
	d.visit("new", "shop")
	d.wantSaid("close passer evicted", "open new")
	// And not for ever.
	d.now = d.now.Add(9 * time.Minute)
	for range 3 {
		d.visit("talks", "shop")
	}
	d.said()
	d.now = d.now.Add(time.Second)
	d.visit("next", "shop")
	d.wantSaid("close regular evicted", "open next")
}

func TestOldHistoryIsForgotten(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 1, Remembered: 3})
	for i := range 100 {
		d.visit(fmt.Sprintf("s%d", i), fmt.Sprintf("site%d", i))
		if known := d.r.Known(); known > 4 {
			t.Fatalf("%d sessions are remembered after %d, want at most 3 and the one with a tab", known, i+1)
		}
	}
	if d.r.Forget("s99") {
		t.Error("a session with a tab was forgotten")
	}
	if !d.r.Forget("s98") || !d.r.Forget("nobody") || d.r.Known() != 3 {
		t.Errorf("%d sessions are remembered after one was forgotten, want 3", d.r.Known())
	}
}

func TestWhoNeverGivesWay(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 3, Idle: time.Minute})
	d.visit("pinned", "shop")
	d.r.Pin("pinned", "shop", true)
	d.pinned["pinned"] = true
	if _, err := d.want("running", "shop", 0); err != nil {
		t.Fatal(err)
	}
	d.visit("resting", "shop")
	for range 50 {
		d.visit("resting", "shop") // The most used of all.
	}
	d.said()
	d.visit("new", "shop")
	d.wantSaid("close resting evicted", "open new")
	d.now = d.now.Add(time.Hour)
	d.steps()
	d.wantSaid("close new idle")

	delete(d.pinned, "pinned")
	d.r.Pin("pinned", "shop", false)
	d.steps()
	d.wantSaid("close pinned idle")
}

// TestWhoWaitsGetsTheNextPlace: with all places running, the first end makes
// room for the first one that waits.
func TestWhoWaitsGetsTheNextPlace(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 2})
	for _, key := range []string{"a", "b", "c", "d"} {
		if _, err := d.want(key, "shop", 0); err != nil {
			t.Fatal(err)
		}
	}
	d.wantSaid("open a", "open b")
	d.end("b")
	d.wantSaid("close b evicted", "open c")
	d.closed("a") // It crashed under its command, which goes without.
	d.wantSaid("open d")
	d.end("a")
	d.wantSaid()
	if got := d.r.Stats(); got.Running != 2 || got.Placed != 2 || got.Waiting != 0 {
		t.Errorf("stats %+v, want 2 running on 2 places and none waiting", got)
	}
}

func TestWhoGivesUpIsNotServed(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 1})
	for _, key := range []string{"a", "b", "c"} {
		if _, err := d.want(key, "shop", time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	d.closed("b")
	d.said()
	d.end("a")
	d.wantSaid("close a evicted", "open c")
	d.now = d.now.Add(2 * time.Minute)
	d.steps()
	if err := d.refused["b"]; err != nil {
		t.Errorf("who gave up is told %v", err)
	}
}

// TestTheCallerMayBeTooLateToClose: a command came between the decision and the
// closing.
func TestTheCallerMayBeTooLateToClose(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 1})
	d.slow = true
	d.visit("a", "shop")
	if _, err := d.want("b", "shop", 0); err != nil {
		t.Fatal(err)
	}
	d.wantSaid("open a", "close a evicted")
	if warm, err := d.want("a", "shop", 0); err != nil || !warm {
		t.Fatalf("the tab that is still open: warm %t, error %v", warm, err)
	}
	d.wantSaid()
	d.end("a")
	d.wantSaid("close a evicted")
	d.closed("a")
	d.wantSaid("open b")
}

// TestOneClosingPerWaiter: while tabs are on their way out, no further ones are
// closed for the same waiting sessions.
func TestOneClosingPerWaiter(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 4})
	for _, key := range []string{"a", "b", "c", "d"} {
		d.visit(key, "shop")
	}
	d.said()
	d.slow = true
	for _, key := range []string{"x", "y"} {
		if _, err := d.want(key, "shop", 0); err != nil {
			t.Fatal(err)
		}
	}
	d.wantSaid("close a evicted", "close b evicted")
	d.closed("b")
	d.wantSaid("open x")
	d.closed("a")
	d.wantSaid("open y")
}

func TestIdleTabsClose(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 10, Idle: time.Minute})
	if _, ok := d.r.Wake(); ok {
		t.Error("an empty policy wants to be woken")
	}
	d.visit("a", "shop")
	d.now = d.now.Add(30 * time.Second)
	d.visit("b", "shop")
	d.said()
	at, ok := d.r.Wake()
	if want := d.now.Add(30 * time.Second); !ok || !at.Equal(want) {
		t.Fatalf("woken at %v (%t), want %v", at, ok, want)
	}
	d.now = at.Add(-1)
	d.steps()
	d.wantSaid()
	d.now = at
	d.steps()
	d.wantSaid("close a idle")
	d.now = d.now.Add(30 * time.Second)
	d.steps()
	d.wantSaid("close b idle")
	if _, ok := d.r.Wake(); ok {
		t.Error("a policy without tabs wants to be woken")
	}
}

// TestMemoryPressure follows one worker from its start. 50 tabs fit.
func TestMemoryPressure(t *testing.T) {
	t.Parallel()
	const tab = 15 << 20
	d := newDesk(t, session.ResidencyOptions{Held: 100, Memory: 50 * tab})
	visitors := func() {
		for i := range 80 {
			d.visit(fmt.Sprintf("s%d", i), "shop")
			d.now = d.now.Add(time.Second)
		}
	}
	for _, step := range []struct {
		what   string
		used   int64
		placed int
	}{
		{"nothing was measured yet", 0, 25},
		{"the others may be like those that are open", 25 * tab, 47},
		{"near the limit", 47 * tab, 47},
		{"just below it", 50 * tab, 47},
		{"the tabs became twice as large", 94 * tab, 25},
		{"they are as large as they may be", 50 * tab, 25},
		{"they became small again", 10 * tab, 80},
		{"nothing fits", 1 << 50, 1},
		{"one tab is large", 30 * tab, 1},
		{"it is small", 5 * tab, 9},
	} {
		d.r.Measured(step.used)
		d.steps()
		visitors()
		if got := d.r.Stats(); got.Placed != step.placed {
			t.Errorf("%s: %d tabs, want %d", step.what, got.Placed, step.placed)
		}
	}
}

// TestPressureClosesTheLeastUsed: and no more than must be.
func TestPressureClosesTheLeastUsed(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 4, Memory: 100})
	for _, key := range []string{"a", "b", "b", "c", "d", "d"} {
		d.visit(key, "shop")
	}
	d.said()
	d.r.Measured(200)
	d.steps()
	d.wantSaid("close a memory", "close c memory")
	if got := d.r.Stats(); got.Pressed != 2 || got.Limit != 2 {
		t.Errorf("%+v, want 2 closed and a limit of 2", got)
	}
}

// TestFewTabsAreNoMeasure: a browser uses memory without tabs too, so a single
// tab says little of what a second one would use.
func TestFewTabsAreNoMeasure(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 100, Memory: 1000})
	d.visit("a", "shop")
	d.r.Measured(900)
	if got := d.r.Stats().Limit; got != 25 {
		t.Errorf("the limit is %d after one tab, want 25 as before", got)
	}
}

// TestPressureSparesCommands: running sessions stay over the limit until their
// commands end.
func TestPressureSparesCommands(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 4, Memory: 100})
	for _, key := range []string{"a", "b", "c", "d"} {
		if _, err := d.want(key, "shop", 0); err != nil {
			t.Fatal(err)
		}
	}
	d.said()
	d.r.Measured(200)
	d.steps()
	d.wantSaid()
	if _, err := d.want("e", "shop", 0); err != nil {
		t.Fatal(err)
	}
	d.end("a")
	d.end("b")
	d.wantSaid("close a memory", "close b memory")
	d.end("c")
	d.wantSaid("close c evicted", "open e")
}

func TestTheClockMayJump(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 2, Idle: time.Minute})
	d.visit("a", "shop")
	d.visit("a", "shop")
	d.now = d.now.Add(-time.Hour)
	d.visit("b", "shop")
	d.said()
	d.visit("c", "shop")
	d.wantSaid("close b evicted", "open c")
	for range 5 {
		d.visit("c", "shop")
	}
	d.visit("a", "shop") // Its uses of an hour ahead weigh no more than those of now.
	d.said()
	d.visit("d", "shop")
	d.wantSaid("close a evicted", "open d")
	d.now = d.now.Add(48 * time.Hour)
	d.steps()
	if got := d.r.Stats(); got.Placed != 0 {
		t.Errorf("%d tabs are open two days later", got.Placed)
	}
}

// TestEqualCallsHaveEqualAnswers replays one run, with sites that the policy
// keeps in maps.
func TestEqualCallsHaveEqualAnswers(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	first := mess(t, seed, 3000)
	if diff := cmp.Diff(first, mess(t, seed, 3000)); diff != "" {
		t.Errorf("seed %d: two runs differ:\n%s", seed, diff)
	}
}

// TestTheContractHoldsInAnyOrder plays random calls. The desk holds each step to
// the contract; at the end everybody must have been served or told.
func TestTheContractHoldsInAnyOrder(t *testing.T) {
	t.Parallel()
	for range 30 {
		mess(t, rand.Uint64(), 2000)
	}
}

// mess makes random calls, and returns what the policy said.
func mess(t testing.TB, seed uint64, calls int) []string {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	next := func(n int) int { return random.IntN(n) }
	log := play(t, session.ResidencyOptions{
		Held: 1 + next(8), Idle: time.Duration(1+next(60)) * time.Second, Waiting: 1 + next(20),
		Remembered: 5 + next(20), Memory: 1000, Weights: map[string]int{"site1": 3},
	}, calls, next)
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
	return log
}

// play makes calls as next chooses them, then lets all commands end, and looks
// whether anybody is left.
func play(t testing.TB, o session.ResidencyOptions, calls int, next func(int) int) []string {
	t.Helper()
	d := newDesk(t, o)
	var log []string
	for range calls {
		d.now = d.now.Add(time.Duration(next(800)) * time.Millisecond)
		at := next(30)
		key, site := fmt.Sprintf("s%d", at), fmt.Sprintf("site%d", at%4)
		switch next(10) {
		case 0, 1, 2, 3:
			if !d.running[key] {
				_, _ = d.want(key, site, time.Duration(next(3))*time.Second)
			}
		case 4, 5, 6:
			d.end(key)
		case 7:
			d.slow = !d.slow
			for _, closing := range sorted(d.closing) {
				d.closed(closing)
			}
		case 8:
			if d.open[key] || d.waiting[key] {
				d.closed(key)
			}
		case 9:
			d.r.Measured(int64(next(2000)))
			d.pinned[key] = next(4) == 0 && !d.closing[key]
			d.r.Pin(key, site, d.pinned[key])
		}
		d.steps()
		d.check()
		log = append(log, d.said()...)
	}
	d.finish()
	return append(log, d.said()...)
}

// check compares what the policy counts with what the desk sees.
func (d *desk) check() {
	d.t.Helper()
	got := d.r.Stats()
	if got.Placed != len(d.open) || got.Running != len(d.running) || got.Waiting != len(d.waiting) {
		d.t.Errorf("the policy counts %+v; there are %d tabs, %d commands, %d waiting", got, len(d.open), len(d.running), len(d.waiting))
	}
}

// finish ends all commands, one after another, until nobody waits.
func (d *desk) finish() {
	d.t.Helper()
	d.slow = false
	for _, key := range sorted(d.closing) {
		d.closed(key)
	}
	for _, key := range sorted(d.pinned) {
		d.r.Pin(key, "site0", false)
	}
	clear(d.pinned)
	d.steps()
	for range 1000 {
		ready := slices.DeleteFunc(sorted(d.running), func(key string) bool { return d.waiting[key] })
		if len(ready) == 0 {
			break
		}
		d.end(ready[0])
	}
	if len(d.waiting) > 0 || len(d.running) > 0 {
		d.t.Errorf("left waiting %v, running %v", sorted(d.waiting), sorted(d.running))
	}
	d.now = d.now.Add(time.Hour)
	d.steps()
	if got := d.r.Stats(); got.Placed != 0 || len(d.open) != 0 {
		d.t.Errorf("%d tabs are placed and %d open long after the last command", got.Placed, len(d.open))
	}
}

func sorted(set map[string]bool) []string {
	var keys []string
	for key, is := range set {
		if is {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func FuzzResidency(f *testing.F) {
	f.Add([]byte("one busy site, and a quiet one"))
	f.Add([]byte{9, 9, 9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 250, 251})
	f.Fuzz(func(t *testing.T, choices []byte) {
		at := 0
		next := func(n int) int {
			if at >= len(choices) {
				return 0
			}
			at++
			return int(choices[at-1]) % n
		}
		o := session.ResidencyOptions{
			Held: 1 + next(6), Idle: time.Duration(1+next(30)) * time.Second,
			Waiting: 1 + next(6), Remembered: 1 + next(6), Memory: 1000, Share: math.Min(1, float64(1+next(10))/10),
		}
		play(t, o, min(len(choices)/4, 400), next)
	})
}

// isBusy reports whether the error is an early refusal, with a time to come
// again.
func isBusy(t testing.TB, err error) time.Duration {
	t.Helper()
	e := fault.From(err)
	if e == nil || e.Reason != fault.BrowserBusy || e.After <= 0 || !fault.Retryable(err) {
		t.Fatalf("got the error %v, want browser_busy with a time to come again", err)
	}
	return e.After
}
