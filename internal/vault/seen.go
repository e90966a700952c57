package vault

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/parley-chat/parley/internal/fault"
)

// seen remembers the highest generation that each connection has had. A record
// with a lower one comes from an old copy of the store, and its refresh token
// was used up long ago: to use it again would have the vendor think of a thief,
// and end everything. The file lies apart from the store; several processes may
// share it.
type seen struct {
	file string

	mu      sync.Mutex // guards the fields below, and the order of writes
	store   string     // the id of the store: another one has other connections
	highest map[string]uint64
}

// of names the store that is spoken of from now on.
func (s *seen) of(store string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store = store
}

// key is the connection's name in the file.
func (s *seen) key(name Name) string { return s.store + " " + name.String() }

func openSeen(file string) (*seen, error) {
	s := &seen{file: file, highest: map[string]uint64{}}
	if file == "" {
		return s, nil
	}
	return s, s.read()
}

// read merges what the file holds. The lock is held, or nobody else has s.
func (s *seen) read() error {
	text, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var stored map[string]uint64
	if err == nil {
		err = json.Unmarshal(text, &stored)
	}
	if err != nil {
		return fault.New(fault.BadConfig, "reading vault.seen").Because(err).
			WithFix("the file says which stored connections are old; remove it only when the store was not put back from a copy")
	}
	for key, generation := range stored {
		s.highest[key] = max(s.highest[key], generation)
	}
	return nil
}

// generation returns the highest one. Another process may have written a higher
// one to the file.
func (s *seen) generation(name Name) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != "" {
		if err := s.read(); err != nil {
			return 0, err
		}
	}
	return s.highest[s.key(name)], nil
}

// add notes the generation. It is on disk when add returns.
func (s *seen) add(name Name, generation uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if generation <= s.highest[s.key(name)] {
		return nil
	}
	s.highest[s.key(name)] = generation
	if s.file == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(s.file), 0o700); err != nil {
		return err
	}
	lock, err := os.OpenFile(s.file+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // It unlocks, too.
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if err := s.read(); err != nil {
		return err
	}
	text, err := json.Marshal(s.highest)
	if err != nil {
		return err
	}
	return replace(s.file, append(text, '\n'))
}

// note remembers how far the connection has come.
func (v *Vault) note(ctx context.Context, r *record) {
	if err := v.seen.add(r.Name, r.Generation); err != nil {
		v.log.LogAttrs(ctx, slog.LevelWarn, "how far a connection has come was not written down",
			slog.String("connection", r.Name.String()), slog.Any("error", err))
	}
}
