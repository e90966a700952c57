package pipedrive

import (
	"context"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// IDs keeps which record of the account is which of ours. It is the only thing
// between a visitor and two persons, so what it has stored must outlive the
// process.
type IDs interface {
	// Get returns the entry of the key, or the zero value.
	Get(ctx context.Context, key string) (Entry, error)
	// Put stores the entry, if the one that is stored has its revision; else the
	// error is fault.StaleFence. It returns the entry with its new revision.
	Put(ctx context.Context, key string, e Entry) (Entry, error)
}

// Entry is what is known of one record.
type Entry struct {
	// ID is Pipedrive's, or "".
	ID string `json:"id,omitempty"`
	// Making is when its creation began, as long as nobody knows what became of it.
	Making time.Time `json:"making,omitzero"`
	// Suspect says that it was made once more after such a time: there may be two.
	Suspect bool `json:"suspect,omitempty"`
	// Shared says that the record belongs to another key of ours, too.
	Shared bool `json:"shared,omitempty"`
	// Revision is the store's.
	Revision uint64 `json:"-"`
}

// memory keeps the entries of a process.
type memory struct {
	mu  sync.Mutex // guards the field below
	all map[string]Entry
}

func newMemory() *memory { return &memory{all: map[string]Entry{}} }

// Get implements IDs.
func (m *memory) Get(_ context.Context, key string) (Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all[key], nil
}

// Put implements IDs.
func (m *memory) Put(_ context.Context, key string, e Entry) (Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all[key].Revision != e.Revision {
		return Entry{}, fault.New(fault.StaleFence, "another one has written the entry of %s", key)
	}
	e.Revision++
	m.all[key] = e
	return e, nil
}
