package browser

import (
	"errors"
	"io/fs"
	"os"
	"slices"

	"github.com/parley-chat/parley/internal/fault"
)

// The places where Debian puts the real binaries. The wrappers in /usr/bin do
// not exec, and leave an orphan behind on every stop.
const (
	headlessShell = "/usr/lib/chromium/chromium-headless-shell"
	fullChromium  = "/usr/lib/chromium/chromium"
)

// A program is a Chromium that can be started.
type program struct {
	path string
	// full is true for the build with the user interface.
	full bool
}

// findBinary returns the binary at the path, or Debian's when path is "".
func findBinary(path string) (program, error) {
	if path == "" {
		for _, place := range []string{headlessShell, fullChromium} {
			if runnable(place) == nil {
				return program{path: place, full: place == fullChromium}, nil
			}
		}
		return program{}, fault.New(fault.BrowserMissing, "neither %s nor %s is there", headlessShell, fullChromium)
	}
	if err := runnable(path); err != nil {
		return program{}, fault.New(fault.BrowserMissing, "looking for Chromium").Because(err)
	}
	return program{path: path, full: !isShell(path)}, nil
}

func runnable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return &fs.PathError{Op: "exec", Path: path, Err: errors.New("not an executable file")}
	}
	return nil
}

// isShell reports whether the file is the build without a user interface. Its
// own resources lie beside it under their own name.
func isShell(path string) bool {
	target, err := os.Readlink(path)
	if err != nil {
		target = path
	}
	return slices.ContainsFunc([]string{path, target}, func(name string) bool {
		return hasWord(name, "headless")
	})
}
