package vault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Store is where sealed records lie: a bucket of the bus. Create, Update and
// Remove are compare-and-set: when somebody else wrote in between, the error is
// fault.StaleFence.
type Store interface {
	Get(ctx context.Context, key string) (bus.Entry, bool, error)
	Create(ctx context.Context, key string, value []byte, life time.Duration) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Remove(ctx context.Context, key string, revision uint64) error
	Keys(ctx context.Context, filters ...string) ([]string, error)
	Watch(ctx context.Context, filters []string, do func(bus.Change) error) error
}

// Publish tells the bus of a fact. The same event again is one event.
type Publish func(ctx context.Context, subject string, e event.Envelope) error

// Options shape a vault. The zero value works, and tells nobody of anything.
type Options struct {
	// Publish tells of connections that change. Nil tells nobody.
	Publish Publish
	// Client asks the vendors. Nil means a plain one. Redirects are never followed.
	Client *http.Client
	// Providers are the vendors. Nil means Providers().
	Providers []Provider
	// Seen is a file that remembers how far each connection had come, so that a
	// store that was put back from an old copy is noticed. "" remembers it as long
	// as the process lives.
	Seen string
	// Now is the clock. Nil means the real one.
	Now func() time.Time
	// CallTimeout is how long a vendor may take to answer; 0 means 10 s.
	CallTimeout time.Duration
	// LeaseLife is how long a refresh may take in all, in whole seconds; 0 means
	// 30 s. It is at least twice CallTimeout and Confirm.
	LeaseLife time.Duration
	// Confirm is the pause before a refused refresh token is tried once more; 0
	// means 1 s.
	Confirm time.Duration
	// Every is how often Run looks after all connections; 0 means 1 minute.
	Every time.Duration
	// Unused is after how long without use a connection is revoked; 0 means 30
	// days, and a negative value never.
	Unused time.Duration
}

// Vault holds connections to vendors. It keeps no token in memory: each use
// reads the store, so a revoked connection is not used, and a new token is used
// at once. Its methods may be called from many goroutines.
type Vault struct {
	log    *slog.Logger
	store  Store
	seal   Sealer
	o      Options
	client *http.Client
	owner  string
	seen   *seen
	flight singleflight.Group

	mu   sync.Mutex // guards uses
	uses map[Name]map[*use]struct{}
}

// Open returns a vault on the store. It refuses when the store holds something
// that the key does not open: with another key nothing is served, and nothing is
// written. The first Open of an empty store writes a mark with the key.
func Open(ctx context.Context, log *slog.Logger, store Store, seal Sealer, o Options) (*Vault, error) {
	if seal == nil {
		return nil, fault.New(fault.BadConfig, "there is no master key").WithFix("set vault.key; " + newMasterFix)
	}
	o = o.filled()
	v := &Vault{log: log, store: store, seal: seal, o: o, client: vendorClient(o), owner: uuid.NewString(), uses: map[Name]map[*use]struct{}{}}
	var err error
	if v.seen, err = openSeen(o.Seen); err != nil {
		return nil, err
	}
	if err := v.checkKey(ctx); err != nil {
		return nil, fmt.Errorf("checking the master key: %w", err)
	}
	return v, nil
}

func (o Options) filled() Options {
	if o.Providers == nil {
		o.Providers = Providers()
	}
	if o.Client == nil {
		o.Client = &http.Client{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	for value, standard := range map[*time.Duration]time.Duration{
		&o.CallTimeout: 10 * time.Second, &o.LeaseLife: 30 * time.Second, &o.Confirm: time.Second,
		&o.Every: time.Minute, &o.Unused: 30 * 24 * time.Hour,
	} {
		if *value == 0 {
			*value = standard
		}
	}
	return o
}

// checkKey opens the mark and every record. The mark holds the store's own id.
func (v *Vault) checkKey(ctx context.Context) error {
	mark, found, err := v.store.Get(ctx, checkKey)
	if err != nil {
		return err
	}
	if found {
		id, err := v.seal.Open(mark.Value, []byte(checkKey))
		if err != nil {
			return v.wrongKey(err)
		}
		v.seen.of(string(id))
	}
	err = v.each(ctx, func(_ Name, r *record, err error) error {
		if r != nil {
			v.note(ctx, r)
		}
		if err != nil && fault.From(err).Reason == fault.KeyMissing {
			return v.wrongKey(err)
		}
		return nil // A damaged record does not keep the others from working.
	})
	if err != nil || found {
		return err
	}
	sealed, err := v.seal.Seal([]byte(uuid.NewString()), []byte(checkKey))
	if err != nil {
		return err
	}
	if _, err := v.store.Create(ctx, checkKey, sealed, 0); err != nil && !isStale(err) {
		return err
	}
	return v.checkKey(ctx) // Of several at once, one wrote it.
}

func (v *Vault) wrongKey(err error) error {
	return fault.From(err).WithFix("give the vault.key that sealed these connections; a key that was rotated stays in the file until " +
		"`publisher connections keys retire`")
}

// each calls the function with every record; the error says of one that it
// cannot be opened.
func (v *Vault) each(ctx context.Context, do func(name Name, r *record, err error) error) error {
	keys, err := v.store.Keys(ctx, connectionPrefix+">")
	if err != nil {
		return fmt.Errorf("listing the connections: %w", err)
	}
	slices.Sort(keys)
	for _, key := range keys {
		name, err := nameOf(key)
		if err != nil {
			continue // Nobody of ours wrote it.
		}
		r, _, err := v.load(ctx, name)
		if err != nil && fault.From(err).Reason == fault.UnknownConnection {
			continue // Gone since.
		}
		if err := do(name, r, err); err != nil {
			return err
		}
	}
	return nil
}

// load reads the record of the name. A record that cannot be opened has a
// revision all the same.
func (v *Vault) load(ctx context.Context, name Name) (*record, uint64, error) {
	entry, found, err := v.store.Get(ctx, name.key())
	if err != nil {
		return nil, 0, err
	}
	if !found {
		return nil, 0, fault.New(fault.UnknownConnection, "there is no connection %s", name)
	}
	r, err := open(v.seal, name, entry.Value)
	return r, entry.Revision, err
}

// save writes the record if it still has the revision; 0 means that there is
// none.
func (v *Vault) save(ctx context.Context, r *record, revision uint64) (uint64, error) {
	sealed, err := r.seal(v.seal)
	if err != nil {
		return 0, err
	}
	if revision == 0 {
		revision, err = v.store.Create(ctx, r.Name.key(), sealed, 0)
	} else {
		revision, err = v.store.Update(ctx, r.Name.key(), sealed, revision)
	}
	if err != nil {
		return 0, fmt.Errorf("storing the connection %s: %w", r.Name, err)
	}
	v.note(ctx, r)
	return revision, nil
}

// errKeep is what a change returns to leave the record as it is.
var errKeep = errors.New("nothing to change")

// change applies the function to the record and stores it, again when somebody
// else wrote in between.
func (v *Vault) change(ctx context.Context, name Name, apply func(r *record) error) (*record, uint64, error) {
	for {
		r, revision, err := v.load(ctx, name)
		if err != nil {
			return nil, 0, err
		}
		if err := apply(r); err != nil {
			if errors.Is(err, errKeep) {
				return r, revision, nil
			}
			return r, revision, err
		}
		revision, err = v.save(ctx, r, revision)
		if err == nil || !isStale(err) || ctx.Err() != nil {
			return r, revision, err
		}
	}
}

func isStale(err error) bool { return err != nil && fault.From(err).Reason == fault.StaleFence }

// List returns the connections that fit the parts that the name gives, those
// whose records are damaged, too.
func (v *Vault) List(ctx context.Context, like Name) ([]Connection, error) {
	var all []Connection
	err := v.each(ctx, func(name Name, r *record, err error) error {
		switch {
		case !name.Fits(like):
		case r != nil:
			all = append(all, r.view())
		case fault.CodeOf(err) == fault.Conflict: // A broken seal, or a missing key.
			all = append(all, Connection{Name: name, State: Unreadable, Why: err.Error()})
		default:
			return err
		}
		return nil
	})
	return all, err
}

// Show returns the connection.
func (v *Vault) Show(ctx context.Context, name Name) (Connection, error) {
	r, _, err := v.load(ctx, name)
	if err != nil {
		return Connection{}, err
	}
	return r.view(), nil
}

// Find returns the only connection that fits.
func (v *Vault) Find(ctx context.Context, like Name) (Connection, error) {
	all, err := v.List(ctx, like)
	if err != nil {
		return Connection{}, err
	}
	if len(all) == 1 {
		return all[0], nil
	}
	var names []string
	for _, c := range all {
		names = append(names, c.Name.String())
	}
	if len(all) == 0 {
		return Connection{}, fault.New(fault.UnknownConnection, "no connection fits")
	}
	return Connection{}, fault.New(fault.UnknownConnection, "%d connections fit", len(all)).WithFix("name one of %s", strings.Join(names, ", "))
}

// Reseal seals every record anew that another key than the present one sealed,
// and returns how many those were. A record is old or new, never torn; a crash
// leaves the rest for the next time.
func (v *Vault) Reseal(ctx context.Context) (int, error) {
	master, ok := v.seal.(*Master)
	if !ok {
		return 0, fault.New(fault.BadConfig, "only a master key can be rotated")
	}
	keys, err := v.store.Keys(ctx, connectionPrefix+">", checkKey)
	if err != nil {
		return 0, fmt.Errorf("listing what is sealed: %w", err)
	}
	done := 0
	for _, key := range keys {
		changed, err := v.resealOne(ctx, master, key)
		if err != nil {
			return done, fmt.Errorf("sealing %s anew: %w", key, err)
		}
		if changed {
			done++
		}
	}
	return done, nil
}

func (v *Vault) resealOne(ctx context.Context, master *Master, key string) (bool, error) {
	about := []byte(checkKey)
	if key != checkKey {
		name, err := nameOf(key)
		if err != nil {
			return false, nil //nolint:nilerr // Nobody of ours wrote it.
		}
		about = name.about()
	}
	for {
		entry, found, err := v.store.Get(ctx, key)
		if err != nil || !found || master.Current(entry.Value) {
			return false, err
		}
		text, err := master.Open(entry.Value, about)
		if err != nil {
			return false, err
		}
		sealed, err := master.Seal(text, about)
		clear(text)
		if err != nil {
			return false, err
		}
		if _, err = v.store.Update(ctx, key, sealed, entry.Revision); !isStale(err) {
			return err == nil, err
		}
	}
}
