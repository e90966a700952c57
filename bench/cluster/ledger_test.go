package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// startedLedger returns a ledger and a simulator that writes to it.
func startedLedger(t *testing.T, work time.Duration) (*ledger, *simulator) {
	t.Helper()
	l, err := startLedger(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	return l, &simulator{ledger: l.url, worker: "w1", work: work, client: client}
}

// act runs the simulated action as a worker does.
func (s *simulator) act(t *testing.T, id, visitor string, seq int, fence uint64) (putOut, error) {
	t.Helper()
	catalog, _, err := s.catalog()
	if err != nil {
		t.Fatal(err)
	}
	spec, _, err := catalog.Find(putName)
	if err != nil {
		t.Fatal(err)
	}
	params, err := json.Marshal(putIn{Seq: seq})
	if err != nil {
		t.Fatal(err)
	}
	done, err := spec.Run(t.Context(), actions.Env{
		Site: actions.Site{Name: loadSite}, Visitor: event.Visitor{UserID: visitor}, CommandID: id, Fence: fence,
	}, params)
	out, _ := done.Output.(putOut)
	return out, err
}

// TestASimulatedActionLooksFirst does a command again, as a worker does after a
// crash: the effect is there, and nothing is done.
func TestASimulatedActionLooksFirst(t *testing.T) {
	t.Parallel()
	l, s := startedLedger(t, time.Millisecond)
	for i, want := range []bool{true, false} {
		out, err := s.act(t, "c-1", "v", 4, 7)
		if err != nil || out.Changed != want {
			t.Errorf("time %d: changed is %t, %v", i, out.Changed, err)
		}
	}
	want := []effect{{ID: "c-1", Site: loadSite, Session: event.SessionKey(loadSite, event.Visitor{UserID: "v"}), Seq: 4, Worker: "w1", Fence: 7}}
	got, refused := l.all()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(effect{}, "At")); diff != "" || refused != 0 {
		t.Errorf("%d refused\n%s", refused, diff)
	}
}

// TestTheLedgerRefusesAFormerOwner writes with a lower fence than the ledger has
// seen, for the same session and for another one.
func TestTheLedgerRefusesAFormerOwner(t *testing.T) {
	t.Parallel()
	l, s := startedLedger(t, time.Millisecond)
	if _, err := s.act(t, "c-1", "v", 0, 9); err != nil {
		t.Fatal(err)
	}
	if _, err := s.act(t, "c-2", "v", 1, 8); !errors.Is(err, fault.New(fault.StaleFence, "")) {
		t.Errorf("a former owner got %v", err)
	}
	if _, err := s.act(t, "c-3", "other", 0, 8); err != nil {
		t.Errorf("another session: %v", err)
	}
	if _, err := s.act(t, "c-4", "v", 1, 9); err != nil {
		t.Errorf("the owner: %v", err)
	}
	effects, refused := l.all()
	if len(effects) != 3 || refused != 1 {
		t.Errorf("%d effects, and %d refused", len(effects), refused)
	}
}

// TestTheLedgerAcceptsASecondEffect: the verdict must see it.
func TestTheLedgerAcceptsASecondEffect(t *testing.T) {
	t.Parallel()
	l, _ := startedLedger(t, 0)
	for range 2 {
		if !l.write(put{ID: "c-1", Site: loadSite, Session: "s"}, time.Now()) {
			t.Error("the ledger refused it")
		}
	}
	effects, _ := l.all()
	if diff := cmp.Diff([]string{"c-1"}, twice(effects)); diff != "" {
		t.Error(diff)
	}
}

func TestALedgerThatIsGoneIsAPageThatCrashed(t *testing.T) {
	t.Parallel()
	l, err := startLedger(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := &simulator{ledger: l.url, client: &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.act(t, "c-1", "v", 0, 1); !errors.Is(err, fault.New(fault.PageCrashed, "")) {
		t.Errorf("got %v", err)
	}
}
