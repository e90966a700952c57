package vault_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/vault"
)

// keys writes the world's master key to a file.
func (w *world) keys() string {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "vault.key")
	if err := vault.WriteMaster(path, w.master); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// TestKilledWhileItWrites kills processes that rotate tokens and the master key:
// every record and the key stay readable, old or new.
func TestKilledWhileItWrites(t *testing.T) {
	t.Parallel()
	kills := bustest.Count(20, 300)
	w := newWorld(t, oauth.Options{})
	var names []vault.Name
	for i := range 5 {
		names = append(names, vault.Name{Provider: oauth.BotStar, Site: fmt.Sprintf("s%d", i)}.Filled())
		if _, err := w.vault.PutToken(t.Context(), names[i], vault.NewSecret("token-"+names[i].Site), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	j := job{Do: "rotate", Keys: w.keys(), Names: names}
	unreadable, rounds := 0, 0
	for range kills {
		child, in, lines := w.spawn(j)
		if got := lineOf(t, lines); got != "ready" {
			t.Fatalf("the process said %q", got)
		}
		go func() { _ = pauseAndKill(child.Process.Kill) }()
		for lines.Scan() {
			rounds++
		}
		kill(child)
		_ = in.Close()
		master, err := vault.ReadMaster(j.Keys)
		if err != nil {
			t.Fatalf("the master key is torn: %v", err)
		}
		v, err := vault.Open(t.Context(), slog.New(slog.DiscardHandler), w.store, master, w.options(vault.Options{}))
		if err != nil {
			t.Fatalf("opening after a kill: %v", err)
		}
		for _, name := range names {
			_, got, end, err := v.Source(name).Token(t.Context())
			if err != nil || !strings.HasPrefix(got.Secret.Reveal(), "token-"+name.Site) {
				t.Errorf("%s: %v", name, err)
				unreadable++
				continue
			}
			end()
		}
	}
	if rounds == 0 {
		t.Error("the processes did nothing")
	}
	t.Logf("%d kills, %d whole rounds of rotation, %d unreadable", kills, rounds, unreadable)
}

// pauseAndKill kills after a time of up to 50 ms.
func pauseAndKill(kill func() error) error {
	timer := time.NewTimer(rand.N(50 * time.Millisecond))
	defer timer.Stop()
	<-timer.C
	return kill()
}

// TestEveryByteOfARecordCounts flips every byte of 100 records, and swaps 1,000
// pairs of them between tenants, environments, sites and principals.
func TestEveryByteOfARecordCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	const records = 100
	names := make([]vault.Name, records)
	sealed := make([][]byte, records)
	for i := range records {
		names[i] = vault.Name{
			Tenant: fmt.Sprintf("t%d", i%7), Environment: fmt.Sprintf("e%d", i%3), Provider: oauth.BotStar,
			Site: fmt.Sprintf("s%d", i%11), Principal: fmt.Sprintf("p%d", i),
		}
		if _, err := w.vault.PutToken(t.Context(), names[i], vault.NewSecret(w.vendor.Issue()), time.Time{}); err != nil {
			t.Fatal(err)
		}
		entry, found, err := w.store.Get(t.Context(), vault.Key(names[i]))
		if err != nil || !found {
			t.Fatalf("reading: %v", err)
		}
		sealed[i] = entry.Value
	}
	flips, swaps, wrong := 0, 0, 0
	rejected := func(err error) {
		if !is(err, fault.SealBroken) && !is(err, fault.KeyMissing) {
			wrong++
			t.Errorf("opened wrongly: %v", err)
		}
	}
	for i, value := range sealed {
		if err := vault.Opens(w.master, names[i], value); err != nil {
			t.Fatal(err)
		}
		for at := range value {
			value[at] ^= 1 << (at % 8)
			rejected(vault.Opens(w.master, names[i], value))
			value[at] ^= 1 << (at % 8)
			flips++
		}
	}
	for swaps < 1000 {
		a, b := rand.N(records), rand.N(records)
		if a == b {
			continue
		}
		rejected(vault.Opens(w.master, names[a], sealed[b]))
		swaps++
	}
	t.Logf("%d bytes flipped, %d swaps, %d decrypted wrongly", flips, swaps, wrong)
	// The same through the store: a damaged record is named, and serves nothing.
	if _, err := w.store.Put(t.Context(), vault.Key(names[0]), sealed[1]); err != nil {
		t.Fatal(err)
	}
	if reason := refused(t, w.vault, names[0]); reason != fault.SealBroken {
		t.Errorf("a swapped record: %s", reason)
	}
	if _, err := vault.Open(t.Context(), slog.New(slog.DiscardHandler), w.store, w.master, w.options(vault.Options{})); err != nil {
		t.Errorf("one damaged record keeps the others from work: %v", err)
	}
	if all, err := w.vault.List(t.Context(), vault.Name{Principal: "p0"}); err != nil || len(all) != 1 || all[0].State != vault.Unreadable || all[0].Name != names[0] {
		t.Errorf("the damaged one is listed as %+v: %v", all, err)
	}
	if _, err := w.vault.PutToken(t.Context(), names[0], vault.NewSecret("token-again"), time.Time{}); err != nil {
		t.Errorf("connecting it again: %v", err)
	}
	if got := token(t, w.vault, names[0]); got.Secret.Reveal() != "token-again" || got.Generation != 2 {
		t.Errorf("connected again: number %d", got.Generation)
	}
}

// TestWrongMasterKey: with another key, with none, and with a part of a rotated
// one, the vault does not start, and changes nothing.
func TestWrongMasterKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	name := vault.Name{Provider: oauth.BotStar}
	if _, err := w.vault.PutToken(t.Context(), name, vault.NewSecret(w.vendor.Issue()), time.Time{}); err != nil {
		t.Fatal(err)
	}
	served, refusals := 0, 0
	start := func(seal vault.Sealer, want fault.Reason) {
		t.Helper()
		v, err := vault.Open(t.Context(), slog.New(slog.DiscardHandler), w.store, seal, w.options(vault.Options{}))
		if v != nil || !is(err, want) {
			served++
			t.Errorf("it started: %v", err)
			return
		}
		if fix := fault.From(err).Fix; !strings.Contains(fix, "vault.key") {
			t.Errorf("the fix is %q", fix)
		}
		refusals++
	}
	for range 20 {
		other, err := vault.NewMaster()
		if err != nil {
			t.Fatal(err)
		}
		start(other, fault.KeyMissing)
		ring, err := vault.Parse(vault.Generate())
		if err != nil {
			t.Fatal(err)
		}
		start(ring, fault.KeyMissing)
	}
	start(nil, fault.BadConfig)
	t.Logf("%d wrong keys, %d served", refusals, served)
	// Without the mark, too: the records themselves tell.
	entry, _, err := w.store.Get(t.Context(), "check.master")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.Remove(t.Context(), "check.master", entry.Revision); err != nil {
		t.Fatal(err)
	}
	other, err := vault.NewMaster()
	if err != nil {
		t.Fatal(err)
	}
	start(other, fault.KeyMissing)
	w.usable(name, token(t, w.vault, name))
}

// TestRefreshRace: three processes with fifty goroutines each ask at the moment
// of the expiry; the vendor, which ends a grant whose refresh token is used
// twice, is asked once for each expiry.
func TestRefreshRace(t *testing.T) {
	t.Parallel()
	const processes, goroutines = 3, 50
	rounds := bustest.Count(20, 200)
	w := newWorld(t, oauth.Options{Life: 30 * time.Minute})
	name := vault.Name{Provider: oauth.HubSpot}
	w.connect(name)
	w.vendor.Set(name.Provider, oauth.Faults{Token: oauth.Fault{Slow: 3 * time.Millisecond}}) // A window for the others.
	j := job{Do: "race", Keys: w.keys(), Names: []vault.Name{name}, Goroutines: goroutines}
	ins, outs := make([]io.Writer, processes), make([]*bufio.Scanner, processes)
	for i := range processes {
		_, ins[i], outs[i] = w.spawn(j)
		if got := lineOf(t, outs[i]); got != "ready" {
			t.Fatalf("the process said %q", got)
		}
	}
	last := ""
	for round := range rounds {
		w.clock.push(31 * time.Minute)
		now := fmt.Sprintln(w.clock.Now().UnixNano())
		for _, in := range ins {
			if _, err := io.WriteString(in, now); err != nil {
				t.Fatal(err)
			}
		}
		first := ""
		for i, out := range outs {
			got := lineOf(t, out)
			if i == 0 {
				first = got
			}
			if got != first || strings.Contains(got, " ") || got == last {
				t.Fatalf("round %d: process %d has %q, process 0 has %q, and the round before %q", round, i, got, first, last)
			}
		}
		last = first
		if n := w.count(name, oauth.Refreshed); n != round+1 {
			t.Fatalf("round %d: %d refreshes", round, n)
		}
	}
	_, ended := w.vendor.Families(name.Provider)
	t.Logf("%d expiries, %d processes of %d goroutines: %d refresh calls, %d reuses, %d families revoked", rounds, processes, goroutines,
		w.count(name, oauth.Refreshed), w.count(name, oauth.Reused), ended)
	if n := w.count(name, oauth.Reused, oauth.FamilyRevoked, oauth.Refused); n != 0 || ended != 0 {
		t.Errorf("%d reuses and refusals, %d families revoked", n, ended)
	}
}

// TestDeathBetweenAnswerAndSave kills processes when the vendor has given a new
// pair. Afterwards the connection works, or says that it needs new consent, and
// that is told; it is never dead in silence.
func TestDeathBetweenAnswerAndSave(t *testing.T) {
	t.Parallel()
	lanes, kills := bustest.Count(4, 10), bustest.Count(2, 10)
	w := newWorld(t, oauth.Options{Life: 30 * time.Minute})
	keys, seen := w.keys(), filepath.Join(t.TempDir(), "seen")
	w.vault = w.open(vault.Options{Every: 50 * time.Millisecond, LeaseLife: time.Second, CallTimeout: 2 * time.Second, Seen: seen})
	run(t, w.vault)
	var alive, reauth, silent atomic.Int64
	var group errgroup.Group
	for lane := range lanes {
		name := vault.Name{Provider: oauth.HubSpot, Principal: fmt.Sprintf("p%d", lane)}.Filled()
		w.connect(name)
		group.Go(func() error {
			for range kills {
				j := job{Do: "refresh", Keys: keys, Names: []vault.Name{name}, Ahead: time.Duration(w.clock.ahead.Load())}
				if lane%2 == 0 {
					j.Seen = seen // Then a lost pair is known before the vendor is asked again.
				}
				if err := w.dieRefreshing(j); err != nil {
					return err
				}
				state, err := w.fate(name)
				switch {
				case err != nil:
					silent.Add(1)
					return err
				case state == vault.Active:
					alive.Add(1)
					continue
				}
				reauth.Add(1)
				if _, err := w.tryConnect(name); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, state := range w.facts.states(t) {
		if state == "reauth_needed" {
			told++
		}
	}
	t.Logf("%d kills: %d work on, %d need consent and %d of them were told, %d silent; %d refreshes, %d reuses",
		lanes*kills, alive.Load(), reauth.Load(), told, silent.Load(),
		w.vendor.Ledger().Count(oauth.HubSpot, oauth.Refreshed), w.vendor.Ledger().Count(oauth.HubSpot, oauth.FamilyRevoked))
	if int64(told) != reauth.Load() || alive.Load()+reauth.Load() != int64(lanes*kills) {
		t.Error("the counts do not fit")
	}
}

// patience is how long something may take in a test that has many processes.
func patience() time.Duration { return time.Duration(bustest.Count(1, 10)) * time.Minute }

// fate waits until those who ask for the connection's token get one that works,
// or hear that it needs new consent. Anything else for good is a connection that
// is dead in silence.
func (w *world) fate(name vault.Name) (vault.State, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience())
	defer cancel()
	for {
		c, err := w.vault.Show(ctx, name)
		if err != nil || c.State == vault.ReauthNeeded || c.State == vault.Active && w.works(name) {
			return c.State, err
		}
		select {
		case <-ctx.Done():
			return c.State, fmt.Errorf("%s stays %s, and does not work: %w", name, c.State, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// dieRefreshing starts a process that refreshes without end, kills it right
// after an answer of the vendor, and returns when the connection has a state
// again.
func (w *world) dieRefreshing(j job) error {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience())
	defer cancel()
	_, got, end, err := w.vault.Source(j.Names[0]).Token(ctx)
	if err != nil {
		return err
	}
	end()
	family, more := w.vendor.Family(got.Secret.Reveal()), 1+rand.N(3)
	before := len(w.vendor.Ledger().Entries(oauth.HubSpot))
	child, _, lines := w.spawn(j)
	defer kill(child)
	if !lines.Scan() || lines.Text() != "ready" {
		return fmt.Errorf("the process said %q", lines.Text())
	}
	err = w.vendor.Ledger().Wait(ctx, oauth.HubSpot, func(entries []oauth.Entry) bool {
		n := 0
		for _, e := range entries[before:] {
			if e.Kind == oauth.Refreshed && e.Family == family {
				n++
			}
		}
		return n >= more
	})
	kill(child)
	if err != nil {
		return err
	}
	w.asking.Lock()
	w.clock.push(5 * time.Minute) // The mark of the dead is old now.
	w.asking.Unlock()
	for {
		c, err := w.vault.Show(ctx, j.Names[0])
		if err != nil || !c.Pending && c.State != vault.Degraded {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s stays %s: %w", j.Names[0], c.State, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// works reports whether the vendor takes the connection's token, now and after
// the next refresh.
func (w *world) works(name vault.Name) bool {
	_, got, end, err := w.vault.Source(name).Token(w.t.Context())
	if err != nil {
		return false
	}
	end()
	return w.vendor.Valid(name.Provider, got.Secret.Reveal())
}

// TestAnOldBackup puts an old copy of a record back. It is noticed before the
// vendor sees a refresh token that was used up, in a process that was there
// and in one that comes later.
func TestAnOldBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{Life: 30 * time.Minute})
	seen := filepath.Join(t.TempDir(), "seen")
	const times = 20
	noticed := 0
	for i := range times {
		name := vault.Name{Provider: oauth.HubSpot, Principal: fmt.Sprintf("p%d", i)}
		w.vault = w.open(vault.Options{Seen: seen})
		w.connect(name)
		backup, _, err := w.store.Get(t.Context(), vault.Key(name))
		if err != nil {
			t.Fatal(err)
		}
		for range 1 + i%3 {
			w.clock.push(31 * time.Minute)
			token(t, w.vault, name)
		}
		if _, err := w.store.Put(t.Context(), vault.Key(name), backup.Value); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			w.vault = w.open(vault.Options{Seen: seen}) // It started again.
		}
		w.clock.push(31 * time.Minute)
		if refused(t, w.vault, name) == fault.ReauthNeeded {
			noticed++
		}
		if n := w.count(name, oauth.Reused, oauth.FamilyRevoked); n != 0 {
			t.Fatalf("the vendor saw a refresh token twice: %d", n)
		}
		w.connect(name)
		w.clock.push(31 * time.Minute)
		w.usable(name, token(t, w.vault, name))
	}
	if noticed != times {
		t.Errorf("%d of %d old copies were noticed", noticed, times)
	}
	t.Logf("%d old copies put back, %d noticed, %d reuses at the vendor", times, noticed, w.vendor.Ledger().Count(oauth.HubSpot, oauth.Reused))
}
