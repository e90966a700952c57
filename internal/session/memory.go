package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// storageTimeout bounds the reading of a page's stores. A page that does not
	// answer keeps what was read of it before.
	storageTimeout = 2 * time.Second
	// storeTimeout bounds the writing of a snapshot that nobody waits for.
	storeTimeout = 10 * time.Second
	// storeAttempts is how often a snapshot is stored while somebody else stores
	// another one.
	snapshotAttempts = 4
)

// memory is what a session keeps beyond the life of a page, and what of it is
// stored. It belongs to the session's owner.
type memory struct {
	looked bool // at the store, since the session is ours
	// was is what the last page was like, until a new one is like it. Nil when
	// nothing is to be brought back. While there is no page, the session's state
	// says the same, and may have changed since.
	was     *actions.State
	storage *browser.Storage // of the last page, as it was last read
	dropped []string         // what was too large
	hung    int              // how often in a row a page has ended while it was made like that
	reason  fault.Reason     // why the stored snapshot cannot be used; told once

	// What is stored, as far as we know.
	revision uint64
	fence    uint64
	bytes    int
	sum      [sha256.Size]byte
	savedAt  time.Time // by the clock of who stored it
	saved    time.Time // by ours
}

// own takes note of the owner's token. A higher one than before means that
// others may have had the session in between.
func (h *held) own(fence uint64) {
	if fence <= h.fence {
		return
	}
	if h.fence != 0 {
		h.mem.looked, h.profile.loaded = false, false
	}
	h.fence = fence
}

// recall reads what is stored of the session, once for each term of our
// ownership. What cannot be read is as good as nothing, and is told of with the
// next page. The error is fault.StaleFence when a later owner has stored it.
func (h *held) recall(ctx context.Context) error {
	if h.m.o.Snapshots == nil || h.mem.looked {
		return nil
	}
	at, found, err := h.m.o.Snapshots.Load(ctx, h.site.Name, h.key)
	switch {
	case isBad(err):
		h.m.seen.invalid.Add(1)
		h.m.log.LogAttrs(ctx, slog.LevelError, "a snapshot cannot be used: the session starts afresh",
			slog.String("session", h.key), slog.Any("err", err))
		if h.main == nil {
			h.mem = memory{reason: fault.From(err).Reason}
			h.state, h.dirty = actions.State{}, false
			h.mark = h.sum()
		}
		h.mem.looked, h.mem.revision = true, at.Revision
		return nil
	case err != nil:
		return err
	case !found:
		h.mem.looked = true
		if h.mem.revision != 0 {
			h.clear(ctx) // It was erased, or has expired.
		}
		return nil
	case at.Fence > h.fence && h.fence != 0:
		return h.stale(ctx, at.Fence)
	}
	if at.Revision == h.mem.revision && (h.main != nil || h.dirty) {
		h.mem.looked = true // Nobody had it in between, and we know more.
		if h.main == nil && h.mem.storage == nil {
			h.mem.storage = at.Storage
		}
		return nil
	}
	if h.main != nil {
		err = h.close(ctx, "lost") // Another worker went on without it.
	}
	h.adopt(at)
	return err
}

// adopt makes what is stored what is known of the session.
func (h *held) adopt(at Stored) {
	h.mem = memory{
		looked: true, was: &at.State, storage: at.Storage, dropped: at.Dropped,
		revision: at.Revision, fence: at.Fence, bytes: at.Bytes, savedAt: at.SavedAt, saved: time.Now(), sum: sumOf(at.Snapshot),
	}
	h.state, h.dirty = at.State, false
	h.mark = h.sum()
}

// clear forgets all that is known of the session's visitor.
func (h *held) clear(ctx context.Context) {
	if err := h.close(ctx, "erased"); err != nil {
		h.m.log.LogAttrs(ctx, slog.LevelWarn, "closing the page of an erased session", slog.String("session", h.key), slog.Any("err", err))
	}
	h.mem, h.state, h.profile, h.dirty = memory{looked: true}, actions.State{}, profile{}, false
	h.mark = h.sum()
	clear(h.adopted)
}

// stale takes note that a later owner has the session: nothing of ours is
// stored any more.
func (h *held) stale(ctx context.Context, theirs uint64) error {
	h.m.seen.stale.Add(1)
	h.lost.Store(true)
	err := fault.New(fault.StaleFence, "the session was stored with the fence %d, and ours is %d", theirs, h.fence)
	if closed := h.close(ctx, "lost"); closed != nil {
		return errors.Join(err, closed)
	}
	return err
}

// remember notes what the page that is gone was like. What it was asked to be
// like and has not been yet is still to be done.
func (h *held) remember() {
	h.state = h.wanted()
	h.mem.was, h.dirty = new(h.state), true
}

// wanted is what the next page is to be like.
func (h *held) wanted() actions.State {
	s := h.state
	if was := h.mem.was; h.tab.Load() != nil && was != nil && was.Booted && !s.Booted {
		s.Booted, s.Open = true, was.Open
	}
	s.Opened, s.Closed, s.WebviewURL, s.Sight = 0, 0, "", actions.Sight{}
	return s
}

// read reads the stores of the page that is open. What cannot be read stays as
// it was read before.
func (h *held) read(ctx context.Context) {
	if h.main == nil || h.main.gone() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	storage, err := h.main.tab.Storage(ctx)
	switch {
	case err == nil:
		h.mem.storage, h.mem.dropped = &storage, nil
	case errors.Is(err, fault.New(fault.TooLarge, "")):
		h.mem.storage, h.mem.dropped = &storage, []string{"stores"} // Its cookies are there.
	default:
		h.m.log.LogAttrs(ctx, slog.LevelWarn, "reading the stores of a page", slog.String("session", h.key), slog.Any("err", err))
	}
}

// snapshot is what there is to be stored.
func (h *held) snapshot() Snapshot {
	return Snapshot{
		Site: h.site.Name, Session: h.key, Visitor: h.visitor, State: h.wanted(),
		Storage: h.mem.storage, Fence: max(h.fence, h.mem.fence), Dropped: h.mem.dropped,
	}
}

// sumOf names what a snapshot says, whenever it was stored.
func sumOf(snap Snapshot) [sha256.Size]byte {
	snap.SavedAt = time.Time{}
	text, err := encodeSnapshot(nil, snap)
	if err != nil {
		return [sha256.Size]byte{}
	}
	return sha256.Sum256(text)
}

// store stores what is known of the session, unless it is stored already.
func (h *held) store(ctx context.Context) error {
	store := h.m.o.Snapshots
	if store == nil || h.lost.Load() || !h.dirty {
		return nil
	}
	if err := h.recall(ctx); err != nil || !h.dirty {
		return err
	}
	snap := h.snapshot()
	sum := sumOf(snap)
	if h.mem.revision != 0 && sum == h.mem.sum && time.Since(h.mem.saved) < store.life/4 {
		h.settled()
		return nil
	}
	snap.SavedAt = h.m.o.Now().UTC()
	for range snapshotAttempts {
		at, err := store.Save(ctx, snap, h.mem.revision)
		if err == nil {
			h.m.seen.saved.Add(1)
			h.mem.revision, h.mem.fence, h.mem.bytes, h.mem.sum = at.Revision, at.Fence, at.Bytes, sum
			h.mem.savedAt, h.mem.saved, h.mem.dropped = at.SavedAt, time.Now(), at.Dropped
			h.settled()
			return nil
		}
		if !errors.Is(err, fault.New(fault.StaleFence, "")) {
			return err
		}
		if err := h.contend(ctx, snap.Fence); err != nil || !h.dirty {
			return err
		}
	}
	return fault.New(fault.BusUnavailable, "the snapshot of session %s changed %d times while it was stored", h.key, snapshotAttempts)
}

// settled notes that everything is stored. Without a page, the store is asked
// again when there is to be one: it knows the rest.
func (h *held) settled() {
	h.dirty, h.mark = false, h.sum()
	if h.main == nil {
		h.mem.storage, h.mem.looked = nil, false
	}
}

// contend finds out who has written meanwhile. An earlier owner's snapshot gives
// way to ours, and a later owner's does not. One that is gone was erased, and
// so is what we know.
func (h *held) contend(ctx context.Context, fence uint64) error {
	at, found, err := h.m.o.Snapshots.Load(ctx, h.site.Name, h.key)
	switch {
	case err != nil && !isBad(err):
		return err
	case !found && h.mem.revision != 0:
		h.clear(ctx)
	case !found: // It has gone since.
	case err == nil && at.Fence > fence:
		return h.stale(ctx, at.Fence)
	default:
		h.mem.revision = at.Revision
	}
	return nil
}

// Restoration says how a page was made like the last one of its session.
type Restoration struct {
	// State is what it was to be like.
	State actions.State
	// SavedAt is when that was stored. Zero when the worker still knew it.
	SavedAt time.Time
	// Err is why it is not so, or nil.
	Err error
}

// restore makes the new page like the last one was. A window that does not open
// again, or a mode that the page no longer has, leaves the rest as it is; a
// widget that does not come up is an error, and the next page is for another
// try. So nothing is taken for granted of a page that is half restored.
func (h *held) restore(ctx context.Context) error {
	h.restored = nil
	if h.mem.reason != "" {
		reason := string(h.mem.reason)
		h.mem.reason = ""
		h.tellRestored(event.SessionRestored{Reason: reason})
		return nil
	}
	if h.mem.was == nil {
		return nil
	}
	was := h.state
	h.mem.was = &was
	h.state.Forget()
	h.restored = &Restoration{State: was, SavedAt: h.mem.savedAt}
	if was.Booted && h.provider.Restore != nil && h.mem.hung < 2 {
		h.restored.Err = h.bringBack(ctx, was)
	}
	if err := h.restored.Err; err != nil && !tolerable(err) {
		return fmt.Errorf("restoring session %s: %w", h.key, err)
	}
	h.m.seen.restored.Add(1)
	if h.state.Booted || !was.Booted {
		h.mem.was, h.mem.hung = nil, 0 // It is as it was.
	}
	fact := event.SessionRestored{Booted: h.state.Booted, Open: h.state.Open, Mode: h.state.Mode, Storage: h.mem.storage != nil}
	if !h.mem.savedAt.IsZero() {
		fact.SavedAt = new(h.mem.savedAt)
	}
	h.tellRestored(fact)
	return nil
}

// tolerable reports whether a page works though it is not quite like the last
// one.
func tolerable(err error) bool {
	return slices.Contains([]fault.Reason{
		fault.NotConfirmed, fault.NoInlineTarget, fault.ModeConflict, fault.ModeNotSupported, fault.SchemaViolation,
	}, fault.From(err).Reason)
}

// bringBack has the provider do it. What the page reports of it is no fact. When
// the page hangs or dies of it, the window stays closed the next time, and the
// time after that the page begins empty.
func (h *held) bringBack(ctx context.Context, was actions.State) error {
	h.restoring = true
	defer func() { h.restoring = false }()
	h.restores++
	by := Command{
		Key:   event.DerivedID("restore", h.key, strconv.FormatUint(h.fence, 10), strconv.Itoa(h.restores)),
		Fence: h.fence, restoring: true,
	}
	was.Opened, was.Closed, was.WebviewURL, was.Sight = 0, 0, "", actions.Sight{}
	was.Open = was.Open && h.mem.hung == 0
	h.state = was
	err := h.provider.Restore(ctx, h.env(by, h.m.log))
	if err != nil {
		h.state.Forget()
		if h.main.gone() || errors.Is(err, fault.New(fault.PageHung, "")) {
			h.mem.hung++
		}
		h.m.log.LogAttrs(ctx, slog.LevelWarn, "a session cannot be brought back as it was",
			slog.String("session", h.key), slog.Any("err", err))
	}
	h.catchUp()
	return err
}

func (h *held) tellRestored(fact event.SessionRestored) {
	h.dirty = true // The owner's token is to be stored.
	h.post(actions.Notice{Name: event.FactRestored, Data: func(o event.Occurrence) any {
		fact.Occurrence = o
		return fact
	}}, event.CauseNavigation, Command{}, h.m.o.Now().UTC(), bare(h.site.URL), true)
}

func (h *held) tellHibernated(why string, dropped []string) {
	fact := event.SessionHibernated{Why: why, Bytes: h.mem.bytes, Dropped: slices.Concat(dropped, h.mem.dropped)}
	h.post(actions.Notice{Name: event.FactHibernated, Data: func(o event.Occurrence) any {
		fact.Occurrence = o
		return fact
	}}, event.CauseNavigation, Command{}, h.m.o.Now().UTC(), bare(h.site.URL), true)
}
