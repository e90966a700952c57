package vault_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/vault"
)

// underWay is a worker with calls under way that use the first name, and as many that
// use the second one. It says when all are, and when those of the first have
// ended: how many, how many of them because of the revocation, when the last one
// did, how many of the others have ended, and whether the token is given since.
func underWay(ctx context.Context, v *vault.Vault, j job) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- v.Run(ctx) }()
	var mu sync.Mutex // guards the counts
	var ended, revoked, others int
	var begun, done sync.WaitGroup
	begun.Add(2 * j.Goroutines)
	call := func(name vault.Name, count func(err error)) {
		err := v.Source(name).Do(ctx, func(ctx context.Context, _ vault.Token) error {
			begun.Done()
			<-ctx.Done() // A vendor that does not answer.
			return ctx.Err()
		})
		mu.Lock()
		defer mu.Unlock()
		count(err)
	}
	for range j.Goroutines {
		done.Go(func() {
			call(j.Names[0], func(err error) {
				ended++
				if is(err, fault.ConnectionRevoked) {
					revoked++
				}
			})
		})
		go call(j.Names[1], func(error) { others++ })
	}
	begun.Wait()
	say("holding")
	done.Wait()
	at := time.Now().UnixNano()
	_, _, _, again := v.Source(j.Names[0]).Token(ctx)
	mu.Lock()
	say("ended", ended, revoked, at, others, is(again, fault.ConnectionRevoked))
	mu.Unlock()
	stop()
	if err := <-ran; err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// TestRevokeReachesEveryProcess: three processes with calls under way, and a
// fourth that revokes. Each call ends, in less than five seconds, and none of
// another connection.
func TestRevokeReachesEveryProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	name, other := vault.Name{Provider: oauth.HubSpot}.Filled(), vault.Name{Provider: oauth.Pipedrive}.Filled()
	w.connect(name)
	w.connect(other)
	keys := t.TempDir() + "/vault.key"
	if err := vault.WriteMaster(keys, w.master); err != nil {
		t.Fatal(err)
	}
	const processes, calls = 3, 50
	type worker struct{ line func() string }
	var workers []worker
	for range processes {
		_, in, lines := w.spawn(job{Do: "calls", Keys: keys, Names: []vault.Name{name, other}, Goroutines: calls})
		t.Cleanup(func() { _ = in.Close() })
		workers = append(workers, worker{func() string { return lineOf(t, lines) }})
	}
	for _, one := range workers {
		if ready, holding := one.line(), one.line(); ready != "ready" || holding != "holding" {
			t.Fatalf("a process says %s, %s", ready, holding)
		}
	}
	token := token(t, w.vault, name)
	at := time.Now()
	if _, err := w.vault.Revoke(t.Context(), name, "stolen"); err != nil {
		t.Fatal(err)
	}
	ended, revoked, others, given := 0, 0, 0, 0
	var slowest time.Duration
	for _, one := range workers {
		line := one.line()
		words := strings.Fields(line)
		if len(words) != 6 || words[0] != "ended" {
			t.Fatalf("a process says %s", line)
		}
		ended, revoked, others = ended+number(t, words[1]), revoked+number(t, words[2]), others+number(t, words[4])
		slowest = max(slowest, time.Unix(0, int64(number(t, words[3]))).Sub(at))
		if words[5] != "true" {
			given++
		}
	}
	t.Logf("%d of %d calls ended, %d as revoked, the last one after %s; %d of another connection; %d processes give the token",
		ended, processes*calls, revoked, slowest, others, given)
	if ended != processes*calls || revoked != ended || others != 0 || given != 0 {
		t.Error("that is wrong")
	}
	if slowest > 5*time.Second {
		t.Errorf("the last call ended after %s", slowest)
	}
	if w.vendor.Valid(name.Provider, token.Secret.Reveal()) {
		t.Error("the vendor takes the token yet")
	}
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
