package workflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Bucket stores the versions: *bus.KV of bus.BucketFlows fits it.
type Bucket interface {
	// Get returns the entry of the key, and whether there is one.
	Get(ctx context.Context, key string) (bus.Entry, bool, error)
	// Create writes the value if there is none; if there is, the error is
	// fault.StaleFence.
	Create(ctx context.Context, key string, value []byte, life time.Duration) (uint64, error)
	// Update writes the value if the key still has the revision; if not, the error
	// is fault.StaleFence.
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	// Keys returns the keys that fit the filters.
	Keys(ctx context.Context, filters ...string) ([]string, error)
}

// Versions are the published versions of workflows. A version never changes and
// is never removed, so a run finds the one that it began with.
type Versions struct{ bucket Bucket }

// NewVersions returns the versions that the bucket stores.
func NewVersions(bucket Bucket) *Versions { return &Versions{bucket} }

// Version is one published version of a workflow.
type Version struct {
	Name string `json:"name"`
	// Number counts from 1. Numbers may have gaps.
	Number int    `json:"number"`
	Digest string `json:"digest"`
	Source string `json:"source"`
	Author string `json:"author,omitempty"`
	Note   string `json:"note,omitempty"`
	// At is when it was published.
	At time.Time `json:"at"`
}

// Head says which version of a workflow is switched on.
type Head struct {
	Name string `json:"name"`
	// Current is the number of the version; 0 means that the workflow is off.
	Current int `json:"current"`
	// Moves are the last changes of Current, the latest last.
	Moves []Move `json:"moves"`
}

// Move is one change of the current version.
type Move struct {
	From   int       `json:"from"`
	To     int       `json:"to"`
	Author string    `json:"author,omitempty"`
	Note   string    `json:"note,omitempty"`
	At     time.Time `json:"at"`
}

// Change says who changes something, why and when.
type Change struct {
	Author, Note string
	At           time.Time
}

const (
	// maxMoves is how many moves a head keeps.
	maxMoves = 100
	// maxTries bounds how often a change is tried again when others change the
	// same workflow.
	maxTries = 20
)

func headKey(name string) string { return name + ".head" }
func versionKey(name string, number int) string {
	return fmt.Sprintf("%s.v.%06d", name, number)
}

// Publish stores the program as the next version, and switches it on. A program
// that is the current version already is not stored again. Concurrent
// publications each get a number of their own; the last one is current.
func (v *Versions) Publish(ctx context.Context, p *Program, by Change) (Version, error) {
	if head, err := v.Head(ctx, p.Name); err != nil {
		return Version{}, err
	} else if head.Current > 0 {
		current, err := v.Get(ctx, p.Name, head.Current)
		if err != nil {
			return Version{}, err
		}
		if current.Digest == p.Digest {
			return current, nil
		}
	}
	version := Version{
		Name: p.Name, Digest: p.Digest, Source: string(p.Source),
		Author: by.Author, Note: by.Note, At: by.At.UTC(),
	}
	for range maxTries {
		last, err := v.last(ctx, p.Name)
		if err != nil {
			return Version{}, err
		}
		version.Number = last + 1
		err = v.create(ctx, version)
		if err != nil && fault.From(err).Reason == fault.StaleFence {
			continue // Somebody took the number.
		}
		if err == nil {
			err = v.move(ctx, p.Name, version.Number, by)
		}
		return version, err
	}
	return Version{}, crowded(p.Name)
}

func (v *Versions) create(ctx context.Context, version Version) error {
	body, err := json.Marshal(version)
	if err != nil {
		return fmt.Errorf("encoding the version %d of %s: %w", version.Number, version.Name, err)
	}
	if _, err := v.bucket.Create(ctx, versionKey(version.Name, version.Number), body, 0); err != nil {
		return fmt.Errorf("storing the version %d of %s: %w", version.Number, version.Name, err)
	}
	return nil
}

// last returns the highest number that is taken, or 0.
func (v *Versions) last(ctx context.Context, name string) (int, error) {
	numbers, err := v.numbers(ctx, name)
	if err != nil || len(numbers) == 0 {
		return 0, err
	}
	return numbers[len(numbers)-1], nil
}

// numbers returns the numbers of the workflow's versions, ascending.
func (v *Versions) numbers(ctx context.Context, name string) ([]int, error) {
	if !event.IsToken(name) {
		return nil, fault.New(fault.BadRule, "%q is no name of a workflow", name)
	}
	keys, err := v.bucket.Keys(ctx, name+".v.*")
	if err != nil {
		return nil, fmt.Errorf("listing the versions of %s: %w", name, err)
	}
	numbers := make([]int, 0, len(keys))
	for _, key := range keys {
		if n, err := strconv.Atoi(key[strings.LastIndexByte(key, '.')+1:]); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// List returns the versions of the workflow, the oldest first.
func (v *Versions) List(ctx context.Context, name string) ([]Version, error) {
	numbers, err := v.numbers(ctx, name)
	if err != nil {
		return nil, err
	}
	versions := make([]Version, len(numbers))
	for i, n := range numbers {
		if versions[i], err = v.Get(ctx, name, n); err != nil {
			return nil, err
		}
	}
	return versions, nil
}

// Names returns the names of the workflows that have versions, sorted.
func (v *Versions) Names(ctx context.Context) ([]string, error) {
	keys, err := v.bucket.Keys(ctx, "*.head")
	if err != nil {
		return nil, fmt.Errorf("listing the workflows: %w", err)
	}
	for i, key := range keys {
		keys[i] = strings.TrimSuffix(key, ".head")
	}
	slices.Sort(keys)
	return keys, nil
}

// Get returns the version with the number.
func (v *Versions) Get(ctx context.Context, name string, number int) (Version, error) {
	var version Version
	if !event.IsToken(name) || number < 1 {
		return version, fault.New(fault.BadRule, "there is no version %d of %q", number, name)
	}
	entry, ok, err := v.bucket.Get(ctx, versionKey(name, number))
	switch {
	case err != nil:
		return version, fmt.Errorf("reading the version %d of %s: %w", number, name, err)
	case !ok:
		return version, fault.New(fault.BadRule, "there is no version %d of %s", number, name).
			WithFix("`publisher workflows versions %s` lists them", name)
	}
	if err := json.Unmarshal(entry.Value, &version); err != nil {
		return version, fault.New(fault.BadRule, "reading the version %d of %s: %s", number, name, err)
	}
	return version, nil
}

// Head returns what is switched on. The zero Head with the name is that of a
// workflow that was never published.
func (v *Versions) Head(ctx context.Context, name string) (Head, error) {
	head, _, err := v.head(ctx, name)
	return head, err
}

func (v *Versions) head(ctx context.Context, name string) (Head, uint64, error) {
	head := Head{Name: name}
	if !event.IsToken(name) {
		return head, 0, fault.New(fault.BadRule, "%q is no name of a workflow", name)
	}
	entry, ok, err := v.bucket.Get(ctx, headKey(name))
	if err != nil || !ok {
		if err != nil {
			err = fmt.Errorf("reading the current version of %s: %w", name, err)
		}
		return head, 0, err
	}
	if err := json.Unmarshal(entry.Value, &head); err != nil {
		return head, 0, fault.New(fault.BadRule, "reading the current version of %s: %s", name, err)
	}
	return head, entry.Revision, nil
}

// Rollback switches on a version that was published before. Runs under way keep
// the version that they began with.
func (v *Versions) Rollback(ctx context.Context, name string, number int, by Change) error {
	if _, err := v.Get(ctx, name, number); err != nil {
		return err
	}
	return v.move(ctx, name, number, by)
}

// Off switches the workflow off: no run starts; runs under way go on.
func (v *Versions) Off(ctx context.Context, name string, by Change) error {
	return v.move(ctx, name, 0, by)
}

// move changes the current version.
func (v *Versions) move(ctx context.Context, name string, to int, by Change) error {
	for range maxTries {
		head, revision, err := v.head(ctx, name)
		if err != nil {
			return err
		}
		if head.Current == to && revision > 0 {
			return nil
		}
		head.Moves = append(head.Moves, Move{head.Current, to, by.Author, by.Note, by.At.UTC()})
		head.Moves = head.Moves[max(0, len(head.Moves)-maxMoves):]
		head.Current = to
		body, err := json.Marshal(head)
		if err != nil {
			return fmt.Errorf("encoding the current version of %s: %w", name, err)
		}
		if revision == 0 {
			_, err = v.bucket.Create(ctx, headKey(name), body, 0)
		} else {
			_, err = v.bucket.Update(ctx, headKey(name), body, revision)
		}
		switch {
		case err == nil:
			return nil
		case fault.From(err).Reason != fault.StaleFence:
			return fmt.Errorf("switching %s to the version %d: %w", name, to, err)
		}
	}
	return crowded(name)
}

func crowded(name string) error {
	return fault.New(fault.StaleFence, "others change the workflow %s all the time", name).WithFix("try again")
}

// Load compiles the current version of every workflow. What is wrong with one,
// because a site or an action is gone, is in the error; the others are in the
// set all the same.
func (v *Versions) Load(ctx context.Context, c *Compiler) (*Set, error) {
	names, err := v.Names(ctx)
	if err != nil {
		return nil, err
	}
	var programs []*Program
	var wrong []error
	for _, name := range names {
		head, err := v.Head(ctx, name)
		if err != nil {
			return nil, err
		}
		if head.Current == 0 {
			continue
		}
		p, err := v.Program(ctx, c, name, head.Current)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		programs = append(programs, p)
	}
	set, err := NewSet(programs...)
	return set, errors.Join(append(wrong, err)...)
}

// Program compiles one version.
func (v *Versions) Program(ctx context.Context, c *Compiler, name string, number int) (*Program, error) {
	version, err := v.Get(ctx, name, number)
	if err != nil {
		return nil, err
	}
	p, err := c.compile(fmt.Sprintf("%s@%d", name, number), name, []byte(version.Source))
	if err != nil {
		return nil, err
	}
	p.Version = version.Number
	return p, nil
}
