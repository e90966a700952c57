package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/parley-chat/parley/internal/fault"
)

// maxFile is the most bytes of a file with a ring.
const maxFile = 64 << 10

// Read reads a ring from a file. A file that others than its owner may read is
// refused, unless its group may: that is how secrets are mounted in containers.
func Read(path string) (*Keyring, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fault.New(fault.BadConfig, "reading the key ring").Because(err).
			WithFix("make the file with `worker keys`, with the mode 0600")
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fault.New(fault.BadConfig, "everybody may use the key ring %s, which has the mode %04o", path, info.Mode().Perm()).
			WithFix("chmod 600 %s", path)
	}
	if info.Size() > maxFile {
		return nil, fault.New(fault.BadConfig, "the key ring %s has %d bytes, and %d are the most", path, info.Size(), maxFile)
	}
	text, err := os.ReadFile(path) //nolint:gosec // The operator names the file.
	if err != nil {
		return nil, fault.New(fault.BadConfig, "reading the key ring").Because(err)
	}
	ring, err := Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return ring, nil
}

// Ensure reads the ring from the file, and makes the file with a new key when
// there is none. It is for development: a production ring comes from those who
// keep it. Of several processes at once, one makes the file, and all get the
// same ring; a crash leaves no half of a file.
func Ensure(path string) (*Keyring, error) {
	ring, err := Read(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return ring, err
	}
	if err := create(path, "# Seals what sessions leave behind. Whoever has it can read that.\n"+Generate()+"\n"); err != nil {
		return nil, fault.New(fault.BadConfig, "making the key ring").Because(err).WithFix("make its folder writable, or name another file")
	}
	return Read(path)
}

// create writes the file, unless it is there.
func create(path, text string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	draft, err := os.CreateTemp(dir, ".keys-*") // with the mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(draft.Name()) }()
	_, err = draft.WriteString(text)
	if err = errors.Join(err, draft.Sync(), draft.Close()); err != nil {
		return err
	}
	if err := os.Link(draft.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
