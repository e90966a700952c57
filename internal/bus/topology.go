package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The streams. Subjects are made in package event.
const (
	StreamCommands = "CMD"   // The queue of commands.
	StreamFlow     = "FLOW"  // Triggers, runs, timers, what they issue, and what CRMs have.
	StreamEvents   = "EVT"   // Results and facts: the history.
	StreamJournal  = "JRN"   // One effect record per command.
	StreamAudit    = "AUDIT" // Receipts; nothing can be deleted.
	StreamDead     = "DEAD"  // What could not be done, with the reason.
	StreamAdvisory = "ADV"   // JetStream's own word on terminated messages.
)

// The buckets of the key-value store.
const (
	BucketGroup      = "group"      // Who works, and which partition is whose.
	BucketSessions   = "sessions"   // Snapshots of sessions.
	BucketProfiles   = "profiles"   // What we keep of a visitor whom the vendor forgets.
	BucketIdentities = "identities" // Which ids of visitors are one visitor.
	BucketVault      = "vault"      // Sealed secrets.
	BucketFlows      = "flows"      // Versions of workflows.
	BucketGrants     = "grants"     // Who may do what.
)

const (
	// partitions is the number of partitions of the commands. It is fixed for
	// the life of the stream: another number would send the commands of one
	// session to two partitions.
	partitions = 64
	// maxGroups is how many groups of workers there may be: each has a consumer
	// per partition.
	maxGroups = 16
	// maxMessage is the most that one message may have, headers included.
	maxMessage = 256 << 10
	// maxQueued is the most commands of one session and action that wait. The
	// next one is refused: fault.QueueFull.
	maxQueued = 64
	// maxAhead is the farthest that a timer may lie ahead. FLOW keeps messages
	// longer than that.
	maxAhead = 60 * day

	day = 24 * time.Hour
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// six is a subject's tail of class, provider, object, verb, site and session.
const six = "*.*.*.*.*.*"

// queueTransform maps the subject of a command, which begins with the word, to
// its form in the queue: the partition of site and session in front.
func queueTransform(word string) jetstream.SubjectTransformConfig {
	return jetstream.SubjectTransformConfig{
		Source: word + "." + six,
		Destination: fmt.Sprintf("cq.{{partition(%d,5,6)}}.", partitions) +
			"{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}.{{wildcard(4)}}.{{wildcard(5)}}.{{wildcard(6)}}",
	}
}

// flowStream is made before the others, because the commands' stream reads it.
func flowStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: StreamFlow, Description: "triggers, runs, timers, and the commands they issue",
		Subjects: []string{"in.>", "run.>", "timer.>", "due.>", "go.>", "crm.>"},
		// Schedules refuse DiscardNew, and a delete marker would stretch the lives
		// of messages with a TTL of their own.
		AllowMsgSchedules: true, AllowMsgTTL: true, AllowAtomicPublish: true, AllowRollup: true,
		MaxAge: 90 * day, MaxBytes: 8 * gib, Duplicates: 10 * time.Minute,
	}
}

// commandStream is the queue.
func commandStream() jetstream.StreamConfig {
	commands := queueTransform("cmd")
	return jetstream.StreamConfig{
		Name: StreamCommands, Description: "the queue of commands",
		Subjects:         []string{"cmd." + six},
		Retention:        jetstream.WorkQueuePolicy,
		SubjectTransform: &commands,
		Sources: []*jetstream.StreamSource{{
			Name:              StreamFlow,
			SubjectTransforms: []jetstream.SubjectTransformConfig{queueTransform("due"), queueTransform("go")},
		}},
		Discard: jetstream.DiscardNew, DiscardNewPerSubject: true,
		MaxMsgs: 1_000_000, MaxBytes: 4 * gib, MaxMsgsPerSubject: maxQueued, MaxMsgSize: maxMessage,
		MaxAge: day, Duplicates: 5 * time.Minute, MaxConsumers: maxGroups * partitions,
	}
}

// otherStreams are the history, the journal, and what is set aside.
func otherStreams() []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{
			Name: StreamEvents, Description: "results and facts",
			Subjects: []string{"res.>", "evt.>"},
			MaxAge:   30 * day, MaxBytes: 16 * gib, Duplicates: 2 * time.Minute,
		},
		{
			Name: StreamJournal, Description: "one effect record per command",
			Subjects:          []string{"jrn.*.*.*"},
			MaxMsgsPerSubject: 1, MaxAge: 7 * day, MaxBytes: 4 * gib, Duplicates: 2 * time.Minute,
		},
		{
			Name: StreamAudit, Description: "receipts",
			Subjects:   []string{"audit.>"},
			DenyDelete: true, DenyPurge: true, Discard: jetstream.DiscardNew,
			MaxBytes: 16 * gib, Duplicates: 2 * time.Minute,
		},
		{
			Name: StreamDead, Description: "dead letters",
			Subjects: []string{"dead.>"},
			MaxAge:   90 * day, MaxBytes: 2 * gib, Duplicates: 10 * time.Minute,
		},
		{
			Name: StreamAdvisory, Description: "terminated and undeliverable commands, in JetStream's words",
			Subjects: []string{
				"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + StreamCommands + ".*",
				"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED." + StreamCommands + ".*",
			},
			MaxAge: 30 * day, MaxBytes: 256 * mib, Duplicates: 2 * time.Minute,
		},
	}
}

// buckets returns the streams behind the buckets. Fences and recovery checks
// read through the leader, because any copy answers a direct read, also one that
// is behind. Where there is one copy only, what is large is read directly: the
// other way wraps it in JSON.
func buckets(replicas int) []jetstream.StreamConfig {
	var all []jetstream.StreamConfig
	for _, bucket := range []struct {
		name, about string
		markers     time.Duration // makes keys with a life of their own possible
		bytes       int64
	}{
		{BucketGroup, "who works", 10 * time.Second, 64 * mib},
		{BucketSessions, "snapshots of sessions", time.Minute, 16 * gib},
		{BucketProfiles, "profiles of visitors", time.Minute, 4 * gib},
		{BucketIdentities, "who is who", time.Minute, 4 * gib},
		{BucketVault, "sealed secrets", time.Minute, 256 * mib},
		{BucketFlows, "versions of workflows", 0, 256 * mib},
		{BucketGrants, "grants", 0, 256 * mib},
	} {
		all = append(all, jetstream.StreamConfig{
			Name: "KV_" + bucket.name, Description: bucket.about,
			Subjects:          []string{"$KV." + bucket.name + ".>"},
			MaxMsgsPerSubject: 1, MaxBytes: bucket.bytes,
			Discard: jetstream.DiscardNew, AllowRollup: true, DenyDelete: true,
			AllowMsgTTL: bucket.markers > 0, SubjectDeleteMarkerTTL: bucket.markers,
			Duplicates:  2 * time.Minute,
			AllowDirect: replicas <= 1 && slices.Contains([]string{BucketSessions, BucketProfiles}, bucket.name),
		})
	}
	return all
}

// completed fills in what the server would, so that a comparison with what the
// server has shows real differences only.
func completed(all []jetstream.StreamConfig, replicas int) []jetstream.StreamConfig {
	for i := range all {
		all[i].Storage, all[i].Replicas = jetstream.FileStorage, replicas
		for _, limit := range []*int64{&all[i].MaxMsgs, &all[i].MaxBytes, &all[i].MaxMsgsPerSubject} {
			if *limit == 0 {
				*limit = -1
			}
		}
		if all[i].MaxMsgSize == 0 {
			all[i].MaxMsgSize = -1
		}
		if all[i].MaxConsumers == 0 {
			all[i].MaxConsumers = -1
		}
	}
	return all
}

// EnsureTopology makes the streams and buckets that are missing, and brings
// those that exist up to date where that is safe. A difference that is not
// safe is an error that names the stream and the setting; nothing is ever
// deleted. Calling it again, and from several processes, is harmless.
func (b *Bus) EnsureTopology(ctx context.Context) error {
	all := completed(slices.Concat(
		[]jetstream.StreamConfig{flowStream(), commandStream()}, otherStreams(), buckets(b.opts.Replicas)), b.opts.Replicas)
	// The first one is alone because another one reads it.
	if err := b.ensureStream(ctx, all[0]); err != nil {
		return err
	}
	// All of them, also when one is refused: so one run tells all that is wrong.
	var group sync.WaitGroup
	errs := make([]error, len(all))
	for i, want := range all[1:] {
		group.Go(func() { errs[i] = b.ensureStream(ctx, want) })
	}
	group.Wait()
	return errors.Join(errs...)
}
