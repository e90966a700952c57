package bus_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
)

func TestTheStreamsAreMadeOnce(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	made := make(chan error, 4)
	for range cap(made) { // Several processes start at the same time.
		b := bustest.Connect(t, bus.Options{URL: s.URL()})
		go func() { made <- b.EnsureTopology(t.Context()) }()
	}
	for range cap(made) {
		if err := receive(t, made, "the streams"); err != nil {
			t.Error(err)
		}
	}
	b := s.Bus()
	publish(t, b, "s1")
	before := s.Stream("CMD")
	if err := b.EnsureTopology(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := s.Stream("CMD")
	if !before.Created.Equal(after.Created) || after.State.Msgs != 1 {
		t.Errorf("the stream was touched: %+v, then %+v", before, after)
	}
}

// A copy that is behind must not answer for what was stored, and for who owns it
// never.
func TestOnlyTheLeaderAnswersInACluster(t *testing.T) {
	t.Parallel()
	for name, direct := range bus.DirectReads(3) {
		if direct {
			t.Errorf("three copies answer for %s", name)
		}
	}
	alone := bus.DirectReads(1)
	if !alone["KV_"+bus.BucketSessions] || alone["KV_"+bus.BucketGroup] {
		t.Errorf("one copy: %v", alone)
	}
	s := bustest.Serve(t)
	s.Bus()
	if !s.Stream("KV_" + bus.BucketSessions).Config.AllowDirect {
		t.Error("snapshots are read in JSON")
	}
}

func TestWhatIsSafeIsBroughtUpToDate(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	e := publish(t, b, "s1")
	s.Update("CMD", func(c *jetstream.StreamConfig) {
		c.MaxBytes, c.MaxAge, c.MaxMsgsPerSubject, c.Duplicates = 1<<20, time.Hour, 10, time.Minute
		c.Description, c.MaxMsgs = "an older version", 9_000_000
	})
	s.Update("EVT", func(c *jetstream.StreamConfig) {
		c.Subjects, c.AllowDirect, c.MaxAge = []string{"res.>"}, true, 365*24*time.Hour
	})
	s.Update("FLOW", func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false })
	if err := b.EnsureTopology(t.Context()); err != nil {
		t.Fatal(err)
	}
	cmd := s.Stream("CMD").Config
	if cmd.MaxBytes != 4<<30 || cmd.MaxAge != 24*time.Hour || cmd.MaxMsgsPerSubject != 64 || cmd.Duplicates != 5*time.Minute ||
		cmd.Description != "the queue of commands" {
		t.Errorf("CMD: %+v", cmd)
	}
	if cmd.MaxMsgs != 9_000_000 {
		t.Errorf("the operator's larger limit became %d", cmd.MaxMsgs)
	}
	evt := s.Stream("EVT").Config
	if len(evt.Subjects) != 2 || evt.AllowDirect || evt.MaxAge != 365*24*time.Hour {
		t.Errorf("EVT: %+v", evt)
	}
	if !s.Stream("FLOW").Config.AllowAtomicPublish {
		t.Error("FLOW takes no batches")
	}
	if receipt, err := b.Publish(t.Context(), "cmd.w.botstar.widget.open.shop.s1", e); err != nil || !receipt.Duplicate {
		t.Errorf("the queue forgot its command: %+v, %v", receipt, err)
	}
}

func TestWhatIsNotSafeIsRefusedByName(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		stream, setting string
		config          jetstream.StreamConfig
	}{
		"another retention": {"CMD", "retention", jetstream.StreamConfig{Subjects: []string{"cmd.>"}}},
		"another number of partitions": {"CMD", "subject_transform", jetstream.StreamConfig{
			Subjects: []string{"cmd.*.*.*.*.*.*"}, Retention: jetstream.WorkQueuePolicy,
			SubjectTransform: &jetstream.SubjectTransformConfig{
				Source:      "cmd.*.*.*.*.*.*",
				Destination: "cq.{{partition(16,5,6)}}.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}.{{wildcard(4)}}.{{wildcard(5)}}.{{wildcard(6)}}",
			},
		}},
		"memory":               {"EVT", "storage", jetstream.StreamConfig{Subjects: []string{"res.>"}, Storage: jetstream.MemoryStorage}},
		"more subjects":        {"DEAD", "subjects", jetstream.StreamConfig{Subjects: []string{"dead.>", "ours.>"}}},
		"a history":            {"JRN", "max_msgs_per_subject", jetstream.StreamConfig{Subjects: []string{"jrn.*.*.*"}, MaxMsgsPerSubject: 5}},
		"a sealed stream":      {"EVT", "sealed", jetstream.StreamConfig{Subjects: []string{"evt.>"}, Sealed: true}},
		"a bucket in memory":   {"KV_vault", "storage", jetstream.StreamConfig{Subjects: []string{"$KV.vault.>"}, Storage: jetstream.MemoryStorage}},
		"a stream of messages": {"KV_flows", "max_msgs_per_subject", jetstream.StreamConfig{Subjects: []string{"$KV.flows.>"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := bustest.Serve(t)
			test.config.Name = test.stream
			s.Make(test.config)
			b := bustest.Connect(t, bus.Options{URL: s.URL()})
			err := b.EnsureTopology(t.Context())
			wantReason(t, err, fault.BusMisconfigured)
			text := err.Error()
			if !strings.Contains(text, "stream "+test.stream+" has "+test.setting+" ") {
				t.Errorf("the error names neither the stream nor the setting: %v", err)
			}
			if got := s.Stream(test.stream).Config; got.Storage != test.config.Storage || got.Retention != test.config.Retention {
				t.Errorf("the stream was changed: %+v", got)
			}
		})
	}
}

// TestDrift has a stream vanish while a worker runs: the worker waits, and goes
// on when it is there again.
func TestAStreamThatVanishesAndComesBack(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	came := arrivals(t, b)
	first := publish(t, b, "s1")
	if got := receive(t, came, "the command"); got.id != first.ID {
		t.Errorf("came: %s", got.id)
	}
	s.Delete("CMD")
	if err := b.EnsureTopology(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The new stream counts from one again: its messages are not the old ones.
	second := publish(t, b, "s1")
	if got := receive(t, came, "a command of the new stream"); got.id != second.ID {
		t.Errorf("came: %s, want %s", got.id, second.ID)
	}
}
