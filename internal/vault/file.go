package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/parley-chat/parley/internal/fault"
)

// maxFile is the most bytes of a file with a ring.
const maxFile = 64 << 10

// Read reads a ring from a file. A file that others than its owner may read is
// refused, unless its group may: that is how secrets are mounted in containers.
func Read(path string) (*Keyring, error) {
	text, err := readPrivate("key ring", "make the file with `worker keys`, with the mode 0600", path)
	if err != nil {
		return nil, err
	}
	ring, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return ring, nil
}

// ReadMaster reads a master key from a file that lies open, and which others may
// not read.
func ReadMaster(path string) (*Master, error) {
	text, err := readPrivate("master key", newMasterFix, path)
	if err != nil {
		return nil, err
	}
	master, err := openMaster(text)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return master, nil
}

// ReadSecret reads a secret from a file, which others may not read. White space
// around it does not belong to it.
func ReadSecret(path string) (Secret, error) {
	text, err := readPrivate("secret", "put it into a file with the mode 0600", path)
	if err != nil {
		return Secret{}, err
	}
	if text = strings.TrimSpace(text); text == "" {
		return Secret{}, fault.New(fault.BadConfig, "the file %s is empty", path)
	}
	return NewSecret(text), nil
}

// readPrivate reads a file of a bounded size that not everybody may read.
func readPrivate(what, fix, path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fault.New(fault.BadConfig, "reading the %s", what).Because(err).WithFix("%s", fix)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return "", fault.New(fault.BadConfig, "everybody may use the %s %s, which has the mode %04o", what, path, info.Mode().Perm()).
			WithFix("chmod 600 %s", path)
	}
	if info.Size() > maxFile {
		return "", fault.New(fault.BadConfig, "the %s %s has %d bytes, and %d are the most", what, path, info.Size(), maxFile)
	}
	text, err := os.ReadFile(path) //nolint:gosec // The operator names the file.
	if err != nil {
		return "", fault.New(fault.BadConfig, "reading the %s", what).Because(err)
	}
	return string(text), nil
}

// EnsureMaster reads the master key from the file, and makes the file with a new
// one when there is none, as Ensure does. It is for development.
func EnsureMaster(path string) (*Master, error) {
	master, err := ReadMaster(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return master, err
	}
	fresh, err := NewMaster()
	if err != nil {
		return nil, err
	}
	text, err := fresh.Text()
	if err != nil {
		return nil, err
	}
	if err := makeFile(path, text.Reveal()+"\n"); err != nil {
		return nil, err
	}
	return ReadMaster(path)
}

// makeFile writes the master key's file, unless it is there.
func makeFile(path, text string) error {
	if err := create(path, text); err != nil {
		return fault.New(fault.BadConfig, "making the master key").Because(err).WithFix("make its folder writable, or name another file")
	}
	return nil
}

// WriteMaster replaces the file with the master key, in the open: the old text or
// the new one is there, whatever happens.
func WriteMaster(path string, master *Master) error {
	text, err := master.Text()
	if err != nil {
		return err
	}
	return replaceFile(path, text.Reveal()+"\n")
}

// replaceFile replaces the master key's file.
func replaceFile(path, text string) error {
	if err := replace(path, []byte(text)); err != nil {
		return fault.New(fault.BadConfig, "writing the master key").Because(err)
	}
	return nil
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
	draft, err := draft(path, []byte(text))
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(draft) }()
	if err := os.Link(draft, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// replace writes the file in one step.
func replace(path string, text []byte) error {
	draft, err := draft(path, text)
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(draft, path), syncDir(filepath.Dir(path)))
}

// syncDir has the names in the folder survive a power cut.
func syncDir(dir string) error {
	folder, err := os.Open(dir) //nolint:gosec // The operator names the folder.
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// draft writes the text to a new file beside the path, with the mode 0600.
func draft(path string, text []byte) (string, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	draft, err := os.CreateTemp(dir, ".keys-*") // with the mode 0600
	if err != nil {
		return "", err
	}
	_, err = draft.Write(text)
	if err = errors.Join(err, draft.Sync(), draft.Close()); err != nil {
		_ = os.Remove(draft.Name())
		return "", err
	}
	return draft.Name(), nil
}
