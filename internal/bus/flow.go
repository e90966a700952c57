package bus

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// FlowMsg is a message of FLOW that is committed together with others.
type FlowMsg struct {
	// Subject is one of FLOW: in., run., timer., due., go. or crm.
	Subject string
	// Envelope is the message; when it is nil, Header and Data are.
	Envelope *event.Envelope
	Data     []byte
	// Header goes beside the envelope's own.
	Header map[string]string
	// Only removes what the subject had before. A commit may do that once for a
	// subject.
	Only bool
	// TTL ends the message by itself, in whole seconds. 0 means with the stream.
	TTL time.Duration
	// Create refuses the commit with fault.AlreadyStored when the subject has a
	// message.
	Create bool
	// At refuses the commit with fault.StaleFence when the last message of the
	// subject is not this one. 0 says that there is none.
	At *uint64
	// Due and Target make the message a timer: at that time the server publishes
	// it to Target. The subject holds one timer: a second one replaces it.
	Due    time.Time
	Target string
	// Cancels is the subject of a timer that is removed with the commit, if it
	// has not fired. One that fires in the same moment may still come.
	Cancels string
}

const (
	// maxBatch is the most messages that the server takes in one batch.
	maxBatch = 1000
	// maxBatchBytes bounds what is sent before an answer comes.
	maxBatchBytes = 8 << 20
	// flowQueue bounds the commits that wait for the writer.
	flowQueue = 4096

	headerBatch       = "Nats-Batch-Id"
	headerBatchNumber = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
	headerCommit      = "Parley-Commit" // the id of a commit that needed no batch
	headerScheduler   = "Nats-Scheduler"
	headerNext        = "Nats-Schedule-Next"
)

// Commit stores the messages in FLOW, all of them or none, beside each other
// and in their order, and returns their sequences. Many calls at the same time
// share a batch, and a flush. While the server is away
// it tries again, until the context ends or Options.Timeout has passed; nothing
// is stored twice. An error of class unavailable leaves open whether it was
// stored: what has Create or At can be committed again to find out.
func (b *Bus) Commit(ctx context.Context, msgs []FlowMsg) ([]uint64, error) {
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	return b.CommitAsync(ctx, msgs).Wait(ctx)
}

// Commitment is a commit under way.
type Commitment struct {
	msgs    []*nats.Msg
	anchor  uint64   // the place of the message that is looked for afterwards
	guards  []guard  // what must hold
	alone   []string // subjects that nothing else in the batch may have before
	nonce   bool     // the anchor has a message id of its own
	bytes   int
	gaveUp  <-chan struct{}
	sent    []sending
	floor   uint64 // it cannot be at or before this sequence
	settled chan struct{}

	// Set before settled is closed.
	first uint64 // the sequence of the first of msgs; 0 when it cannot be told
	err   error
}

// sending is an attempt to store a commit.
type sending struct {
	id     string
	number uint64 // of the commit's anchor, in the batch
}

// guard is what a commit expects of a subject.
type guard struct {
	subject string
	at      uint64
	create  bool
}

// CommitAsync is Commit for whoever has other work meanwhile. Commits of one
// goroutine are stored in their order, as far as they are not refused. It is
// given up when the context ends, so that lives until Wait has returned.
func (b *Bus) CommitAsync(ctx context.Context, msgs []FlowMsg) *Commitment {
	c := &Commitment{gaveUp: ctx.Done(), settled: make(chan struct{})}
	if err := b.prepare(c, msgs); err != nil {
		c.settle(0, err)
		return c
	}
	b.flow.offer(ctx, b, c)
	return c
}

// Wait returns when the commit is stored, or when it is sure that it will not
// be, or when the context ends.
func (c *Commitment) Wait(ctx context.Context) ([]uint64, error) {
	select {
	case <-c.settled:
	case <-ctx.Done():
		select {
		case <-c.settled:
		default:
			return nil, fmt.Errorf("committing %s: %w", c.name(), classify(context.Cause(ctx)))
		}
	}
	if c.err != nil {
		return nil, fmt.Errorf("committing %s: %w", c.name(), c.err)
	}
	sequences := make([]uint64, len(c.msgs))
	for i := range sequences {
		if c.first > 0 {
			sequences[i] = c.first + uint64(i)
		}
	}
	return sequences, nil
}

// Done is closed when Wait returns at once.
func (c *Commitment) Done() <-chan struct{} { return c.settled }

func (c *Commitment) settle(first uint64, err error) {
	c.first, c.err = first, err
	close(c.settled)
}

// abandoned reports whether nobody waits any more.
func (c *Commitment) abandoned() bool {
	select {
	case <-c.gaveUp:
		return true
	default:
		return false
	}
}

func (c *Commitment) name() string {
	if len(c.msgs) > 0 {
		return c.msgs[len(c.msgs)-1].Subject
	}
	return "nothing"
}

// prepare turns the caller's messages into those of NATS.
func (b *Bus) prepare(c *Commitment, msgs []FlowMsg) error {
	if len(msgs) == 0 {
		return fault.New(fault.Malformed, "a commit needs a message")
	}
	if len(msgs) > maxBatch {
		return fault.New(fault.TooLarge, "a commit has %d messages, and %d are the most", len(msgs), maxBatch)
	}
	found := false // the anchor: a timer may be gone when it is looked for
	for i, m := range msgs {
		msg, err := b.flowMsg(m)
		if err != nil {
			return err
		}
		c.msgs = append(c.msgs, msg)
		c.bytes += len(msg.Data) + 512
		if m.Create || m.At != nil {
			g := guard{subject: m.Subject, create: m.At == nil}
			if m.At != nil {
				g.at = *m.At
			}
			c.guards, c.alone = append(c.guards, g), append(c.alone, m.Subject)
		}
		if !m.Due.IsZero() {
			c.alone = append(c.alone, m.Subject)
		} else if !found {
			found, c.anchor = true, uint64(i)
		}
	}
	if c.bytes > maxBatchBytes {
		return fault.New(fault.TooLarge, "a commit has %d bytes, and %d are the most", c.bytes, maxBatchBytes)
	}
	if header := c.msgs[c.anchor].Header; len(c.guards) == 0 && header[nats.MsgIdHdr] == nil {
		// Nothing else would keep it from being stored twice.
		c.nonce, header[nats.MsgIdHdr] = true, []string{rand.Text()}
	}
	return nil
}

// flowMsg turns one message into that of NATS, or says what is wrong with it.
func (b *Bus) flowMsg(m FlowMsg) (*nats.Msg, error) {
	switch word, _, _ := strings.Cut(m.Subject, "."); word {
	case "in", "run", "timer", "due", "go", "crm":
	default:
		return nil, fault.New(fault.Malformed, "the subject %q is not one of %s", m.Subject, StreamFlow)
	}
	msg := &nats.Msg{Subject: m.Subject, Header: nats.Header{}, Data: m.Data}
	if m.Envelope != nil {
		msg.Header, msg.Data = event.Encode(*m.Envelope)
	}
	for name, value := range m.Header {
		msg.Header[name] = []string{value}
	}
	if m.Only {
		msg.Header[jetstream.MsgRollup] = []string{jetstream.MsgRollupSubject}
	}
	if m.TTL > 0 {
		msg.Header[jetstream.MsgTTLHeader] = []string{strconv.FormatInt(max(1, int64(m.TTL/time.Second)), 10)}
	}
	switch {
	case m.At != nil:
		msg.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(*m.At, 10)}
	case m.Create:
		msg.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{"0"}
	}
	if m.Cancels != "" {
		msg.Header[headerNext] = []string{"purge"}
		msg.Header[headerScheduler] = []string{m.Cancels}
	}
	if !m.Due.IsZero() {
		if m.Cancels == m.Subject || m.Target == "" {
			return nil, fault.New(fault.Malformed, "the timer %s needs a target, and cannot cancel itself", m.Subject)
		}
		if err := setTimer(msg.Header, m.Due, m.Target); err != nil {
			return nil, err
		}
	}
	return msg, b.fits(msg)
}

// fromBatch is the id and the number under which a message was committed.
func fromBatch(header nats.Header) (id string, number uint64) {
	if id = first(header, headerCommit); id != "" {
		return id, 1
	}
	number, err := strconv.ParseUint(first(header, headerBatchNumber), 10, 64)
	if err != nil {
		return "", 0
	}
	return first(header, headerBatch), number
}

// own reports whether the message is the commit's anchor.
func (c *Commitment) own(header nats.Header) bool {
	id, number := fromBatch(header)
	return id != "" && slices.Contains(c.sent, sending{id, number})
}

// creates reports whether the commit expects nothing but to be the first.
func (c *Commitment) creates() bool {
	return len(c.guards) > 0 && len(c.alone) == len(c.guards) && !slices.ContainsFunc(c.guards, func(g guard) bool { return !g.create })
}
