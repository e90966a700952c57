package app

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
	"github.com/parley-chat/parley/internal/telemetry"
	"github.com/parley-chat/parley/internal/vault"
)

// keyFile is the file of the keys beside the streams of an embedded server.
const keyFile = "sessions.key"

// keyring returns the keys that seal what is stored of sessions. Nil means that
// nothing is to be stored.
func (c *Config) keyring(env Env) (*vault.Keyring, error) {
	file, err := c.Sessions.Key.file(env)
	switch {
	case err != nil:
		return nil, err
	case file != "":
		ring, err := vault.Read(file)
		if err != nil {
			return nil, fmt.Errorf("reading sessions.key: %w", err)
		}
		return ring, nil
	case c.Bus.URL != "":
		return nil, nil
	}
	ring, err := vault.Ensure(filepath.Join(c.Path(c.Bus.Dir), keyFile))
	if err != nil {
		return nil, fmt.Errorf("preparing the key file of the sessions: %w", err)
	}
	return ring, nil
}

// openSnapshots returns where sessions are stored, or nil when they are not.
func (s *System) openSnapshots(ctx context.Context, parts Parts) (*session.Store, error) {
	ring, err := s.cfg.keyring(parts.Env)
	if err != nil || ring == nil {
		return nil, err
	}
	kv, err := s.bus.KV(ctx, bus.BucketSessions)
	if err != nil {
		return nil, fmt.Errorf("opening the stored sessions: %w", err)
	}
	return session.NewStore(metered{parts.Failing.snapshots(kv), s.metrics}, ring, s.cfg.Sessions.Keep), nil
}

// metered counts what snapshots weigh, and how long they take.
type metered struct {
	session.Snapshots

	metrics *telemetry.Metrics
}

// Get implements session.Snapshots.
func (m metered) Get(ctx context.Context, key string) (bus.Entry, bool, error) {
	began := time.Now()
	entry, found, err := m.Snapshots.Get(ctx, key)
	if found && err == nil {
		m.metrics.Snapshot("load", len(entry.Value), time.Since(began))
	}
	return entry, found, err
}

// Create implements session.Snapshots.
func (m metered) Create(ctx context.Context, key string, value []byte, life time.Duration) (uint64, error) {
	began := time.Now()
	revision, err := m.Snapshots.Create(ctx, key, value, life)
	m.saved(len(value), began, err)
	return revision, err
}

// Replace implements session.Snapshots.
func (m metered) Replace(ctx context.Context, key string, value []byte, revision uint64, life time.Duration) (uint64, error) {
	began := time.Now()
	next, err := m.Snapshots.Replace(ctx, key, value, revision, life)
	m.saved(len(value), began, err)
	return next, err
}

func (m metered) saved(bytes int, began time.Time, err error) {
	switch {
	case err == nil:
		m.metrics.Snapshot("save", bytes, time.Since(began))
	case fault.From(err).Reason == fault.StaleFence:
		m.metrics.Refused("snapshot")
	}
}
