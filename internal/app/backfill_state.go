package app

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// tally is what became of the lines of a back-fill.
type tally struct {
	Lines     int64 `json:"lines"`
	Stored    int64 `json:"stored"`
	Duplicate int64 `json:"duplicate"`
	Conflict  int64 `json:"conflict"`
	Rejected  int64 `json:"rejected"`
}

// backfillState is how far a back-fill is: a file beside the first one that it
// reads. All lines before a place are stored, or rejected.
type backfillState struct {
	// Source is where the events are said to come from: another one would give
	// them other names.
	Source string               `json:"source"`
	Files  map[string]filePlace `json:"files"`
	Tally  tally                `json:"tally"`

	path string // "" keeps nothing
}

// filePlace is how far one file was read.
type filePlace struct {
	// Size and Modified tell whether it is the same file still.
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	// Offset is in the unpacked text.
	Offset int64 `json:"offset"`
	Line   int64 `json:"line"`
	Done   bool  `json:"done"`
}

// loadState reads the state of the path, or begins one.
func loadState(path, source string) (*backfillState, error) {
	s := &backfillState{Source: source, Files: map[string]filePlace{}, path: path}
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file.
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, s)
	}
	if err != nil {
		return nil, fault.New(fault.BadConfig, "reading the state of the back-fill, %s", path).Because(err).
			WithFix("name another file with --state, or begin anew with --restart")
	}
	if s.Source != source || s.Files == nil {
		return nil, fault.New(fault.BadConfig, "%s belongs to a back-fill of the source %q", path, s.Source).
			WithFix("name another file with --state, or begin anew with --restart")
	}
	return s, nil
}

// place returns how far the file was read. A file that is another one now is an
// error: its places mean nothing.
func (s *backfillState) place(name string) (filePlace, error) {
	info, err := os.Stat(name)
	if err != nil {
		return filePlace{}, fault.New(fault.BadConfig, "looking at the file %s", name).Because(err)
	}
	now := filePlace{Size: info.Size(), Modified: info.ModTime().UTC()}
	before, known := s.Files[name]
	if !known {
		return now, nil
	}
	if before.Size != now.Size || !before.Modified.Equal(now.Modified) {
		return filePlace{}, fault.New(fault.BadConfig, "%s has changed since its back-fill began", name).
			WithFix("begin anew with --restart: what is stored already is found out")
	}
	return before, nil
}

// save writes the state, so that a crash leaves the old one or the new one.
func (s *backfillState) save() error {
	if s.path == "" {
		return nil
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = replaceFile(s.path, append(text, '\n'))
	}
	if err != nil {
		return fault.New(fault.BadConfig, "keeping how far the back-fill is, in %s", s.path).Because(err).
			WithFix("name a file that can be written with --state")
	}
	return nil
}

// replaceFile writes a file beside the other one, and puts it in its place.
func replaceFile(path string, text []byte) error {
	next, err := os.CreateTemp(filepath.Dir(path), ".backfill-*")
	if err != nil {
		return err
	}
	_, err = next.Write(text)
	if closed := next.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		_ = os.Remove(next.Name())
	}
	return err
}
