package session_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
	"github.com/parley-chat/parley/internal/vault"
)

func keys(t testing.TB, lines ...string) *vault.Keyring {
	t.Helper()
	if len(lines) == 0 {
		lines = []string{vault.Generate()}
	}
	k, err := vault.Parse(strings.Join(lines, "\n"))
	must(t, err)
	return k
}

// bucket returns the bucket of the snapshots, and a store on it.
func bucket(t testing.TB, b *bus.Bus, sealer session.Sealer, life time.Duration) (*bus.KV, *session.Store) {
	t.Helper()
	kv, err := b.KV(t.Context(), bus.BucketSessions)
	must(t, err)
	return kv, session.NewStore(kv, sealer, life)
}

// sample is a snapshot with everything in it.
func sample(id string) session.Snapshot {
	v := event.Visitor{UserID: id, Email: "ada@example.test"}
	return session.Snapshot{
		Site: "shop", Session: event.SessionKey("shop", v), Visitor: v,
		State: actions.State{
			AppID: "s1", Mode: "popup", User: map[string]any{"plan": "Team", "seats": 3.0, "tags": []any{"a"}}, Booted: true, Open: true,
			Subscriptions: []actions.Subscription{{ID: "sub", Fact: event.FactWidgetOpened}},
		},
		Storage: &browser.Storage{
			Cookies: []browser.Cookie{{Name: "c", Value: "v", Domain: ".shop.example.test", Path: "/", Expires: time.Unix(1_900_000_000, 0).UTC(), Secure: true}},
			Origins: []browser.Origin{
				{Origin: "https://shop.example.test", Top: "https://example.test", Local: map[string]string{"a": "1", "": "no name", "b": "\x00\xff€"}},
				{Origin: "https://widget.example.net", Top: "https://example.test", Crossed: true, Session: map[string]string{"s": ""}},
				{Origin: "https://empty.example.net", Top: "https://example.test"},
			},
		},
		Fence: 7, SavedAt: time.Unix(1_800_000_000, 5).UTC(), Dropped: []string{"https://large.example.net"},
	}
}

func TestSnapshotIsKept(t *testing.T) {
	t.Parallel()
	kv, store := bucket(t, bustest.Start(t), keys(t), 0)
	want := sample("u-1")
	if _, found, err := store.Load(t.Context(), want.Site, want.Session); found || err != nil {
		t.Fatalf("before: %t, %v", found, err)
	}
	first, err := store.Save(t.Context(), want, 0)
	must(t, err)
	got, found, err := store.Load(t.Context(), want.Site, want.Session)
	must(t, err)
	if diff := cmp.Diff(want, got.Snapshot); diff != "" || !found || got.Revision != first.Revision || got.Bytes != first.Bytes {
		t.Errorf("revision %d of %d, bytes %d of %d (-want +got):\n%s", got.Revision, first.Revision, got.Bytes, first.Bytes, diff)
	}
	entry, _, err := kv.Get(t.Context(), want.Site+"."+want.Session)
	must(t, err)
	for _, personal := range []string{"u-1", "ada@example.test", "Team", "popup", "widget.example.net", "sub"} {
		if bytes.Contains(entry.Value, []byte(personal)) {
			t.Errorf("%q can be read in what is stored", personal)
		}
	}
	want.State.Open, want.Storage = false, nil
	second, err := store.Save(t.Context(), want, first.Revision)
	must(t, err)
	if got, _, err := store.Load(t.Context(), want.Site, want.Session); err != nil || cmp.Diff(want, got.Snapshot) != "" {
		t.Errorf("without storage: %v %s", err, cmp.Diff(want, got.Snapshot))
	}
	for name, revision := range map[string]uint64{"the first": first.Revision, "none": 0, "one to come": second.Revision + 1} {
		if _, err := store.Save(t.Context(), want, revision); !errors.Is(err, fault.New(fault.StaleFence, "")) {
			t.Errorf("in the place of %s: %v", name, err)
		}
	}
}

// TestChangedSnapshotIsNeverGood changes what is stored in every place, and in
// every way that a disk or a person may.
func TestChangedSnapshotIsNeverGood(t *testing.T) {
	t.Parallel()
	ring := keys(t)
	kv, store := bucket(t, bustest.Start(t), ring, 0)
	snap := sample("u-1")
	_, err := store.Save(t.Context(), snap, 0)
	must(t, err)
	key := snap.Site + "." + snap.Session
	entry, _, err := kv.Get(t.Context(), key)
	must(t, err)
	refused := func(what string, value []byte, reasons ...fault.Reason) {
		t.Helper()
		revision, err := kv.Put(t.Context(), key, value)
		must(t, err)
		got, found, err := store.Load(t.Context(), snap.Site, snap.Session)
		fits := false
		for _, reason := range reasons {
			fits = fits || errors.Is(err, fault.New(reason, ""))
		}
		if !found || !fits || got.Revision != revision || cmp.Diff(session.Snapshot{}, got.Snapshot) != "" {
			t.Fatalf("%s: %t, %+v, %v", what, found, got, err)
		}
	}
	for i := range entry.Value {
		for _, flip := range []byte{1, 0x80} {
			changed := bytes.Clone(entry.Value)
			changed[i] ^= flip
			refused(fmt.Sprintf("byte %d xor %d", i, flip), changed, fault.SealBroken, fault.KeyMissing)
		}
	}
	for n := range 60 {
		refused(fmt.Sprint("cut to ", n), entry.Value[:n], fault.SealBroken, fault.KeyMissing)
	}
	refused("text", []byte(`{"site":"shop"}`), fault.SealBroken)
	other := sample("u-2")
	_, err = store.Save(t.Context(), other, 0)
	must(t, err)
	theirs, _, err := kv.Get(t.Context(), other.Site+"."+other.Session)
	must(t, err)
	refused("another visitor's", theirs.Value, fault.SealBroken)
	about := []byte("session snapshot " + snap.Site + "/" + snap.Session)
	for what, text := range map[string]string{"not packed": "hello", "packed, and no snapshot": "\x28\xb5\x2f\xfd\x04\x00\x01\x00\x00"} {
		sealed, err := ring.Seal([]byte(text), about)
		must(t, err)
		refused(what, sealed, fault.SnapshotInvalid)
	}
	_, elsewhere := bucket(t, bustest.Start(t), keys(t), 0)
	_, err = elsewhere.Save(t.Context(), snap, 0)
	must(t, err)
	if _, err := kv.Put(t.Context(), key, entry.Value); err != nil {
		t.Fatal(err)
	}
	if got, _, err := store.Load(t.Context(), snap.Site, snap.Session); err != nil || cmp.Diff(snap, got.Snapshot) != "" {
		t.Errorf("unchanged again: %v", err)
	}
}

func TestRotatedKeys(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	before, next := vault.Generate(), vault.Generate()
	_, old := bucket(t, b, keys(t, before), 0)
	_, both := bucket(t, b, keys(t, next, before), 0)
	_, fresh := bucket(t, b, keys(t, next), 0)
	snap := sample("u-1")
	saved, err := old.Save(t.Context(), snap, 0)
	must(t, err)
	if _, _, err := fresh.Load(t.Context(), snap.Site, snap.Session); !errors.Is(err, fault.New(fault.KeyMissing, "")) {
		t.Errorf("without its key: %v", err)
	}
	if _, _, err := both.Load(t.Context(), snap.Site, snap.Session); err != nil {
		t.Errorf("with its key in the second place: %v", err)
	}
	_, err = both.Save(t.Context(), snap, saved.Revision)
	must(t, err)
	if _, _, err := fresh.Load(t.Context(), snap.Site, snap.Session); err != nil {
		t.Errorf("sealed with the newer key: %v", err)
	}
}

// noise is text that cannot be compressed much.
func noise(size int) string {
	raw := make([]byte, size)
	_, _ = rand.Read(raw)
	return string(raw)
}

func TestSnapshotIsBounded(t *testing.T) {
	t.Parallel()
	const most = 512 << 10
	_, store := bucket(t, bustest.Start(t), keys(t), 0)
	snap := sample("u-1")
	snap.Dropped = nil
	snap.Storage.Origins[0].Local = map[string]string{"large": noise(300 << 10)}
	snap.Storage.Origins[1].Session = map[string]string{"larger": noise(400 << 10)}
	got, err := store.Save(t.Context(), snap, 0)
	must(t, err)
	if diff := cmp.Diff([]string{"https://widget.example.net"}, got.Dropped); diff != "" || got.Bytes > most {
		t.Errorf("%d bytes, dropped:\n%s", got.Bytes, diff)
	}
	loaded, _, err := store.Load(t.Context(), snap.Site, snap.Session)
	must(t, err)
	if len(loaded.Storage.Origins) != 2 || loaded.Storage.Origins[0].Local["large"] != snap.Storage.Origins[0].Local["large"] ||
		len(loaded.Storage.Cookies) != 1 || len(snap.Storage.Origins) != 3 {
		t.Errorf("%d origins are left", len(loaded.Storage.Origins))
	}
	zeros := sample("u-2") // It packs well, and is too large all the same.
	zeros.Storage.Origins[0].Local = map[string]string{"bomb": strings.Repeat("\x00", 20<<20)}
	if got, err := store.Save(t.Context(), zeros, 0); err != nil || len(got.Dropped) != 2 {
		t.Errorf("20 MiB of zeros: %v, %v", got.Dropped, err)
	}
	state := sample("u-3")
	state.State.Variables = map[string]any{"x": noise(600 << 10)}
	if _, err := store.Save(t.Context(), state, 0); !errors.Is(err, fault.New(fault.TooLarge, "")) {
		t.Errorf("a state that is too large: %v", err)
	}
}

func TestSnapshotEnds(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	_, store := bucket(t, b, keys(t), time.Second)
	_, longer := bucket(t, b, keys(t), time.Hour)
	short, long, renewed := sample("u-1"), sample("u-2"), sample("u-3")
	saved, err := store.Save(t.Context(), renewed, 0)
	must(t, err)
	_, err = longer.Save(t.Context(), renewed, saved.Revision)
	must(t, err)
	_, err = longer.Save(t.Context(), long, 0)
	must(t, err)
	_, err = store.Save(t.Context(), short, 0)
	must(t, err)
	bustest.Until(t, "the snapshot ends", func() bool {
		_, found, err := store.Load(t.Context(), short.Site, short.Session)
		return err == nil && !found
	})
	left, err := longer.Keys(t.Context(), "shop", "")
	must(t, err)
	if len(left) != 2 {
		t.Errorf("what is left: %v", left)
	}
	// A new one is made in the place of the mark.
	if _, err := store.Save(t.Context(), short, 0); err != nil {
		t.Error(err)
	}
}

func TestErasedSnapshot(t *testing.T) {
	t.Parallel()
	server := bustest.Serve(t)
	_, store := bucket(t, server.Bus(), keys(t), 0)
	snap := sample("u-1")
	for range 2 { // Twice is no error.
		_, err := store.Save(t.Context(), snap, 0)
		must(t, err)
		must(t, store.Erase(t.Context(), snap.Site, snap.Session))
		must(t, store.Erase(t.Context(), snap.Site, snap.Session))
		if _, found, err := store.Load(t.Context(), snap.Site, snap.Session); found || err != nil {
			t.Errorf("an erased snapshot: %t, %v", found, err)
		}
	}
	if left, err := store.Keys(t.Context(), "", ""); err != nil || len(left) > 0 {
		t.Errorf("what is left: %v, %v", left, err)
	}
}

// BenchmarkSnapshot saves and loads 50 KB, beside the same bytes as they are.
func BenchmarkSnapshot(b *testing.B) {
	kv, store := bucket(b, bustest.Start(b), keys(b), 0)
	snap := sample("u-1")
	text := strings.Repeat(`{"id":"`+rand.Text()+`","text":"hello there, how can I help you"},`, 700)
	snap.Storage.Origins[0].Local = map[string]string{"chat": text[:50_000]}
	b.Run("store", func(b *testing.B) {
		saved, err := store.Save(b.Context(), snap, 0)
		must(b, err)
		for b.Loop() {
			saved, err = store.Save(b.Context(), snap, saved.Revision)
			must(b, err)
			_, _, err = store.Load(b.Context(), snap.Site, snap.Session)
			must(b, err)
		}
	})
	b.Run("raw", func(b *testing.B) {
		revision, err := kv.Create(b.Context(), "raw.one", []byte(text[:50_000]), time.Hour)
		must(b, err)
		for b.Loop() {
			revision, err = kv.Replace(b.Context(), "raw.one", []byte(text[:50_000]), revision, time.Hour)
			must(b, err)
			_, _, err = kv.Get(b.Context(), "raw.one")
			must(b, err)
		}
	})
}
