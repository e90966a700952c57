package browser

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	nobody        = 65534
	scratchPrefix = "parley-browser-"
	lockName      = "lock"
)

// A launcher knows how to start a browser, and owns the scratch folder that
// all browsers of a pool share.
type launcher struct {
	bin  program
	opts Options
	uid  int // what the browsers run as
	gid  int
	root bool // we are root, and must change the user
	dir  string
	lock *os.File // held while we live
	next atomic.Int64
}

// newLauncher finds the binary, removes what workers that died left behind,
// and makes the scratch folder.
func newLauncher(ctx context.Context, log *slog.Logger, o Options) (*launcher, error) {
	bin, err := findBinary(o.Binary)
	if err != nil {
		return nil, err
	}
	l := &launcher{bin: bin, opts: o, uid: os.Getuid(), gid: os.Getgid(), root: os.Getuid() == 0}
	if l.root {
		l.uid, l.gid = o.UID, o.GID
	}
	parent := o.Dir
	if parent == "" {
		parent = os.TempDir()
	}
	sweep(ctx, log, parent)
	if l.dir, err = os.MkdirTemp(parent, scratchPrefix); err != nil {
		return nil, fmt.Errorf("making the scratch folder: %w", err)
	}
	if err := l.claim(); err != nil {
		_ = os.RemoveAll(l.dir)
		return nil, fmt.Errorf("making the scratch folder: %w", err)
	}
	return l, nil
}

// claim locks the scratch folder, so that no other worker sweeps it away, and
// opens the way into it for the browsers' user.
func (l *launcher) claim() error {
	if err := os.Chmod(l.dir, 0o711); err != nil { //nolint:gosec // The browsers' user must pass, and sees no list.
		return err
	}
	lock, err := os.OpenFile(filepath.Join(l.dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return err
	}
	l.lock = lock
	return l.passable()
}

// passable checks that the browsers' user may reach the scratch folder.
func (l *launcher) passable() error {
	if !l.root {
		return nil
	}
	for dir := filepath.Dir(l.dir); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fault.New(fault.BadConfig, "user %d may not enter %s", l.uid, dir).
				WithFix("set `browser.dir` to a folder that every user may enter")
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// folder makes the scratch folder of one browser: its home, its profile, its
// temporary files.
func (l *launcher) folder() (string, error) {
	dir := filepath.Join(l.dir, strconv.FormatInt(l.next.Add(1), 10))
	for _, name := range []string{dir, filepath.Join(dir, "tmp"), filepath.Join(dir, "profile")} {
		if err := os.Mkdir(name, 0o700); err != nil {
			return "", fmt.Errorf("making the browser's folder: %w", err)
		}
		if l.root {
			if err := os.Chown(name, l.uid, l.gid); err != nil {
				return "", fmt.Errorf("making the browser's folder: %w", err)
			}
		}
	}
	return dir, nil
}

// close removes the scratch folder.
func (l *launcher) close() {
	_ = os.RemoveAll(l.dir)
	_ = l.lock.Close()
}

// sweep removes the scratch folders that nobody holds any more.
func sweep(ctx context.Context, log *slog.Logger, parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), scratchPrefix) {
			continue
		}
		dir := filepath.Join(parent, entry.Name())
		if err := removeStale(dir); err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			log.LogAttrs(ctx, slog.LevelWarn, "stale browser folder stays", slog.String("dir", dir), slog.Any("err", err))
		}
	}
}

func removeStale(dir string) error {
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|syscall.O_NOFOLLOW, 0) //nolint:gosec // The folder has our own prefix.
	if err != nil {
		return nil // Not ours, or not yet claimed.
	}
	defer lock.Close() //nolint:errcheck // It was only read.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
