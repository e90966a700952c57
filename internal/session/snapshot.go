package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// The bounds of a snapshot.
const (
	// maxSnapshot is the most bytes of what is stored. Beyond it, the stores of
	// origins are left out, the largest first.
	maxSnapshot = 512 << 10
	// maxUnpacked is the most bytes of it before it is compressed.
	maxUnpacked = 16 << 20
	// retain is how long a snapshot is kept, unless the options say it.
	retain = 7 * 24 * time.Hour
)

// Snapshot is what is stored of a session, so that any worker can go on with
// it.
type Snapshot struct {
	// Site and Session name the session, and Visitor is whose it is.
	Site    string        `json:"site"`
	Session string        `json:"session"`
	Visitor event.Visitor `json:"visitor"`
	// State is what was true of the last page.
	State actions.State `json:"state"`
	// Storage is what the page's browser context had stored. Nil means that it
	// is not known.
	Storage *browser.Storage `json:"storage,omitempty"`
	// Fence is the token of the owner who stored it.
	Fence uint64 `json:"fence"`
	// SavedAt is when, by the owner's clock. Nothing is decided by it.
	SavedAt time.Time `json:"saved_at"`
	// Dropped names the origins whose stores were too large.
	Dropped []string `json:"dropped,omitempty"`
}

// Stored is a snapshot as it was found.
type Stored struct {
	Snapshot
	// Revision is needed to replace it.
	Revision uint64
	// Bytes is its size.
	Bytes int
}

// Snapshots keeps sealed snapshots; *bus.KV is one. A write against another
// revision than the stored one fails with fault.StaleFence.
type Snapshots interface {
	Get(ctx context.Context, key string) (bus.Entry, bool, error)
	Create(ctx context.Context, key string, value []byte, life time.Duration) (uint64, error)
	Replace(ctx context.Context, key string, value []byte, revision uint64, life time.Duration) (uint64, error)
	Purge(ctx context.Context, key string) error
	Keys(ctx context.Context, filters ...string) ([]string, error)
}

// Sealer seals what is stored; *vault.Keyring is one. What was sealed about one
// thing does not open as another.
type Sealer interface {
	Seal(text, about []byte) ([]byte, error)
	Open(sealed, about []byte) ([]byte, error)
}

// Store keeps snapshots: compressed, sealed, bounded, and each for a time. Its
// methods may be called from many goroutines.
type Store struct {
	kv     Snapshots
	sealer Sealer
	life   time.Duration
	spare  sync.Pool // of *[]byte: what is large and needed for a moment only
}

// buffer returns an empty buffer, and what gives its memory back.
func (s *Store) buffer() (*[]byte, func()) {
	b, ok := s.spare.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	return b, func() { s.spare.Put(b) }
}

// room makes the buffer n bytes long, whatever is in them.
func room(b *[]byte, n int) []byte {
	*b = slices.Grow((*b)[:0], n)[:n]
	return *b
}

// NewStore returns a store. A snapshot ends when it was not written for life,
// in whole seconds; 0 is 7 days.
func NewStore(kv Snapshots, sealer Sealer, life time.Duration) *Store {
	return &Store{kv: kv, sealer: sealer, life: max(orElse(life, retain), time.Second)}
}

// unpack expands what was packed into the buffer, unless it says that it is too
// large.
func unpack(into *[]byte, packed []byte) ([]byte, error) {
	size, err := s2.DecodedLen(packed)
	if err != nil {
		return nil, fmt.Errorf("reading the size: %w", err)
	}
	if size > maxUnpacked {
		return nil, fault.New(fault.TooLarge, "it has %d bytes, and %d are the most", size, maxUnpacked)
	}
	text, err := s2.Decode(room(into, size), packed)
	if err != nil {
		return nil, fmt.Errorf("expanding: %w", err)
	}
	return text, nil
}

func storeKey(site, session string) string { return site + "." + session }

// about names what a snapshot is sealed for.
func about(site, session string) []byte { return []byte("session snapshot " + site + "/" + session) }

// Load returns the session's snapshot; the second value is false when there is
// none. When there is one that cannot be used, the error is
// fault.SnapshotInvalid, fault.SealBroken or fault.KeyMissing, and the result
// has its revision.
func (s *Store) Load(ctx context.Context, site, session string) (Stored, bool, error) {
	entry, found, err := s.kv.Get(ctx, storeKey(site, session))
	if err != nil {
		return Stored{}, false, fmt.Errorf("reading a snapshot: %w", err)
	}
	if !found {
		return Stored{}, false, nil
	}
	at := Stored{Revision: entry.Revision, Bytes: len(entry.Value)}
	packed, err := s.sealer.Open(entry.Value, about(site, session))
	if err != nil {
		return at, true, fmt.Errorf("opening the snapshot of session %s: %w", session, err)
	}
	into, release := s.buffer()
	defer release()
	text, err := unpack(into, packed)
	if err != nil {
		return at, true, invalid(session, "it cannot be unpacked").Because(err)
	}
	at.Snapshot, err = decodeSnapshot(text)
	switch {
	case err != nil:
		at.Snapshot = Snapshot{}
		return at, true, invalid(session, "it cannot be read").Because(err)
	case at.Site != site || at.Session != session:
		at.Snapshot = Snapshot{}
		return at, true, invalid(session, "it is about another session")
	}
	return at, true, nil
}

func invalid(session, why string) *fault.Error {
	return fault.New(fault.SnapshotInvalid, "the snapshot of session %s: %s", session, why)
}

// isBad reports whether the error says that a snapshot is there and cannot be
// used.
func isBad(err error) bool {
	for _, reason := range []fault.Reason{fault.SnapshotInvalid, fault.SealBroken, fault.KeyMissing} {
		if errors.Is(err, fault.New(reason, "")) {
			return true
		}
	}
	return false
}

// Save stores the snapshot in the place of the one with the revision; 0 means
// that there is none. It returns what was stored: without the stores of some
// origins when it was too large. The error is fault.StaleFence when another
// snapshot is there, and fault.TooLarge when nothing is left to leave out.
func (s *Store) Save(ctx context.Context, snap Snapshot, revision uint64) (Stored, error) {
	snap, sealed, err := s.seal(snap)
	if err != nil {
		return Stored{}, err
	}
	at := Stored{Snapshot: snap, Bytes: len(sealed)}
	key := storeKey(snap.Site, snap.Session)
	if revision == 0 {
		at.Revision, err = s.kv.Create(ctx, key, sealed, s.life)
	} else {
		at.Revision, err = s.kv.Replace(ctx, key, sealed, revision, s.life)
	}
	if err != nil {
		return Stored{}, fmt.Errorf("storing a snapshot: %w", err)
	}
	return at, nil
}

// seal packs and seals the snapshot within its bounds.
func (s *Store) seal(snap Snapshot) (Snapshot, []byte, error) {
	for {
		sealed, size, err := s.pack(snap)
		if err != nil || sealed != nil {
			return snap, sealed, err
		}
		if snap.Storage == nil || len(snap.Storage.Origins) == 0 {
			return snap, nil, fault.New(fault.TooLarge, "the snapshot of session %s has %d bytes, and %d are the most", snap.Session, size, maxSnapshot)
		}
		snap = withoutLargest(snap)
	}
}

// pack encodes, compresses and seals the snapshot. The result is nil when it is
// too large, and the number says how large.
func (s *Store) pack(snap Snapshot) (sealed []byte, size int, err error) {
	text, release := s.buffer()
	defer release()
	if *text, err = encodeSnapshot((*text)[:0], snap); err != nil || len(*text) > maxUnpacked {
		return nil, len(*text), err
	}
	packed, release := s.buffer()
	defer release()
	most := s2.MaxEncodedLen(len(*text))
	sealed, err = s.sealer.Seal(s2.Encode(room(packed, most), *text), about(snap.Site, snap.Session))
	if err != nil {
		return nil, 0, fmt.Errorf("sealing a snapshot: %w", err)
	}
	if len(sealed) > maxSnapshot {
		return nil, len(sealed), nil
	}
	return sealed, len(sealed), nil
}

// withoutLargest leaves out the stores of the origin that has the most.
func withoutLargest(snap Snapshot) Snapshot {
	origins := slices.Clone(snap.Storage.Origins)
	largest := slices.MaxFunc(origins, func(a, b browser.Origin) int { return cmp.Compare(weigh(a), weigh(b)) })
	origins = slices.DeleteFunc(origins, func(o browser.Origin) bool { return placeOf(o) == placeOf(largest) })
	snap.Storage = &browser.Storage{Cookies: snap.Storage.Cookies, Origins: origins}
	snap.Dropped = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(snap.Dropped), largest.Origin))))
	return snap
}

func weigh(o browser.Origin) int {
	sum := 0
	for _, store := range []map[string]string{o.Local, o.Session} {
		for name, value := range store {
			sum += len(name) + len(value)
		}
	}
	return sum
}

// place tells the stores of an origin apart: a frame has others below another
// page.
type place struct {
	origin, top string
	crossed     bool
}

func placeOf(o browser.Origin) place { return place{o.Origin, o.Top, o.Crossed} }

// Erase removes the session's snapshot. Nothing of the visitor is left: the
// bucket keeps a mark with the session's opaque name for a minute.
func (s *Store) Erase(ctx context.Context, site, session string) error {
	if err := s.kv.Purge(ctx, storeKey(site, session)); err != nil {
		return fmt.Errorf("erasing a snapshot: %w", err)
	}
	return nil
}

// Keys returns the sessions that have a snapshot, as "site.session"; of all
// sites, or of one session on whatever site, for "*".
func (s *Store) Keys(ctx context.Context, site, session string) ([]string, error) {
	keys, err := s.kv.Keys(ctx, orElse(site, "*")+"."+orElse(session, "*"))
	if err != nil {
		return nil, fmt.Errorf("listing snapshots: %w", err)
	}
	slices.SortFunc(keys, strings.Compare)
	return keys, nil
}
