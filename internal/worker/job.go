package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
)

// maxBody is the most bytes of a command.
const maxBody = 64 << 10

// job is one command on its way through the worker.
type job struct {
	d       *bus.Delivery
	e       event.Envelope
	at      event.Address
	key     string // names the command and its effect
	started time.Time

	// What follows is there once the command has been read.
	spec    actions.Spec
	alias   actions.Alias
	site    actions.Site
	command event.Command
	params  string // hash of what was asked
	guarded bool   // its effect is guarded by an effect record

	// progress is what earlier attempts left, and what this one adds.
	progress *progress
}

// progress is what the attempts of one command leave behind in this process.
type progress struct {
	partition int
	fence     uint64
	attempt   int
	deadline  time.Time
	effect    bus.Effect // of the effect record, for actions that have one
	recorded  bool
	inherited *record // of another life of a worker, which has not ended it
	told      bool    // the evidence tells of that
	acted     bool    // it must not happen twice, and was about to run in another life of a worker
	marked    bool    // it must not happen twice, and the record says that it was about to run
	ran       bool    // the asked action has been begun
	steps     []event.Step
	evidence  []event.Evidence
	executor  string
	why       string      // it ran there
	awayUntil time.Time   // how long the command waits for a visitor who is away; zero before it does
	concluded *conclusion // how it ended, until that is stored
}

// newJob reads what the message says of itself. The error means that nobody can
// be answered.
func (w *Worker) newJob(d *bus.Delivery) (*job, error) {
	address, err := event.ParseCommandSubject(d.Subject)
	if err != nil {
		return nil, fmt.Errorf("reading a command's subject: %w", err)
	}
	e, err := d.Envelope()
	if err != nil {
		return nil, fmt.Errorf("reading a command: %w", err)
	}
	return &job{
		d: d, e: e, at: address, key: event.Key(e.Source, e.ID), started: w.o.Now(),
		progress: &progress{partition: d.Partition, fence: d.Fence},
	}, nil
}

// check reads the command. The error is why it is rejected: it is wrong, or it
// is not what its subject says, which is what its sender was allowed to send.
func (w *Worker) check(j *job) error {
	if len(j.d.Body) > maxBody {
		return fault.New(fault.TooLarge, "the command has %d bytes, and %d are the most", len(j.d.Body), maxBody)
	}
	var err error
	if j.spec, _, err = w.o.Catalog.Find(j.at.Action); err != nil {
		return fmt.Errorf("finding the action: %w", err)
	}
	if action, ok := event.ActionOfType(j.e.Type); !ok || action != j.spec.Name || j.at.Class != j.spec.Scope {
		return fault.New(fault.Malformed, "the type %q does not fit the subject of %s with the class %q",
			j.e.Type, j.at.Action, j.at.Class).WithFix("publish %s on %s", event.CommandType(j.spec.Name),
			event.CommandSubject(j.spec.Scope, j.spec.Name, j.at.Site, j.at.Session))
	}
	if j.command, err = w.o.Schemas.DecodeCommand(j.e); err != nil {
		return fmt.Errorf("reading the command: %w", err)
	}
	j.guarded = j.spec.Scope != event.ClassRead && !w.o.Unguarded
	if err := w.checkAddress(j); err != nil {
		return err
	}
	if j.command.Alias != "" {
		named, alias, err := w.o.Catalog.Find(j.command.Alias)
		if err != nil || named.Name != j.spec.Name {
			return fault.New(fault.SchemaViolation, "%q is not a name of %s", j.command.Alias, j.spec.Name).At("/alias")
		}
		j.alias = alias
	}
	if j.params, err = hash(j.command); err != nil {
		return err
	}
	return j.checkTimeout()
}

// checkAddress compares site and session with the subject.
func (w *Worker) checkAddress(j *job) error {
	c := j.command
	if c.Visitor.Key() == "" {
		return fault.New(fault.SchemaViolation, "the visitor has no identity").At("/visitor").
			WithFix("give user_id, email or anonymous_id")
	}
	if c.Site != j.at.Site || event.SessionKey(c.Site, c.Visitor) != j.at.Session {
		return fault.New(fault.Malformed, "site and visitor do not fit the subject, which names the session %s of site %s", j.at.Session, j.at.Site).
			WithFix("publish it on %s", event.CommandSubject(j.at.Class, j.at.Action, c.Site, event.SessionKey(c.Site, c.Visitor)))
	}
	site, ok := w.o.Site(c.Site)
	if !ok {
		return fault.New(fault.UnknownSite, "no site is called %q", c.Site).At("/site")
	}
	j.site = site
	switch provider, _, _ := strings.Cut(j.spec.Name, "."); {
	case j.spec.Plane == actions.PlaneREST && w.o.REST == nil:
		return fault.New(fault.UnsupportedExecutor, "%s needs the vendor's REST API, which this worker does not speak", j.spec.Name)
	case provider != site.Provider:
		return fault.New(fault.UnsupportedProvider, "site %s runs %s, which does not know %s", site.Name, site.Provider, j.spec.Name).
			WithFix("send an action of %s", site.Provider)
	}
	return nil
}

// checkTimeout compares the asked timeout with the action's bounds.
func (j *job) checkTimeout() error {
	limits := j.spec.Timeout
	if ms := j.command.TimeoutMS; ms != nil {
		asked := time.Duration(*ms) * time.Millisecond
		if asked < limits.Min || asked > limits.Max {
			return fault.New(fault.SchemaViolation, "the timeout of %s is between %d and %d ms", j.spec.Name,
				limits.Min.Milliseconds(), limits.Max.Milliseconds()).At("/timeout_ms")
		}
	}
	return nil
}

// timeout returns how long the command may take from its first attempt on.
func (j *job) timeout() time.Duration {
	if ms := j.command.TimeoutMS; ms != nil {
		return time.Duration(*ms) * time.Millisecond
	}
	return j.spec.Timeout.Default
}

// expired says whether the command is too late.
func (j *job) expired() error {
	expiry, err := j.e.Expiry()
	if err != nil {
		return fault.New(fault.Malformed, "the attribute %s is no time", event.ExtExpiryTime).Because(err)
	}
	if !expiry.IsZero() && j.started.After(expiry) {
		return fault.New(fault.CommandExpired, "the command expired at %s, %s before it could run",
			expiry.UTC().Format(time.RFC3339), j.started.Sub(expiry).Round(time.Millisecond))
	}
	return nil
}

// cause returns what facts tell of the command.
func (j *job) cause() session.Command {
	return session.Command{
		Key: j.key, ID: j.e.ID, Fence: j.d.Fence,
		Correlation: orElse(j.e.Extension(event.ExtCorrelationID), j.e.ID),
		Trace:       j.e.Extension(event.ExtTraceParent),
	}
}

// needKey is the effect key of what the action needs. It differs between attempts:
// what the last one made has gone with its document, while a visitor's page still
// has the answer of that time.
func (j *job) needKey() string {
	return j.key + "/" + strconv.FormatUint(j.d.Fence, 10) + "." + strconv.Itoa(j.progress.attempt)
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// own returns the id of a result that is not the command's one and only: the
// command was not tried.
func (j *job) own() string { return j.resultID() + "-" + strconv.FormatUint(j.d.Sequence, 10) }

// resultID returns the id of the command's result, whichever worker and attempt
// makes it. A command that was taken out of the dead letters gets another one.
func (j *job) resultID() string {
	if j.d.Replay != 0 {
		return "r-" + j.key + "-replay-" + strconv.FormatUint(j.d.Replay, 10)
	}
	return "r-" + j.key
}

// hash names what a command asks for, whatever the order of its keys. Two
// commands with the same id must ask for the same.
func hash(c event.Command) (string, error) {
	var params any
	if len(c.Params) > 0 {
		if err := json.Unmarshal(c.Params, &params); err != nil {
			return "", fault.New(fault.SchemaViolation, "reading the parameters").At("/params").Because(err)
		}
	}
	asked, err := json.Marshal([]any{c.Site, c.Visitor, params, c.Alias})
	if err != nil {
		return "", fault.New(fault.InternalError, "encoding the parameters").Because(err)
	}
	sum := sha256.Sum256(asked)
	return hex.EncodeToString(sum[:16]), nil
}

// await reports whether the context has ended because the worker stops, as
// opposed to the command's own deadline.
func await(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return fault.New(fault.ShuttingDown, "the worker is stopping").Because(context.Cause(ctx))
}
