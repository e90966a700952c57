package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// deadSource is the CloudEvents source of dead letters.
	deadSource = "/parley/bus"
	// headerType is where the type of an event stands.
	headerType = "ce-type"
)

// letterOf returns the dead letter of the message. Its id follows from the
// message's place, so that burying it twice stores one letter.
func letterOf(d *Delivery, problem *fault.Error) (*nats.Msg, error) {
	site, session := siteAndSession(d.Subject)
	subject := event.DeadSubject(problem.Reason, site, session)
	e, err := event.New(deadSource, event.DeadLetterType, session, event.DeadLetter{
		Stream: d.Stream, Sequence: d.Sequence, Subject: d.Subject,
		Problem: event.Problem{
			Code: string(problem.Code), Reason: string(problem.Reason), Message: problem.Error(),
			Field: problem.Field, Fix: problem.Fix, Retryable: fault.Retryable(problem),
		},
		Attempts: d.Attempt, Headers: d.Header, Body: d.Body, DiedAt: time.Now().UTC(),
	})
	if err != nil {
		return nil, fmt.Errorf("writing a dead letter: %w", err)
	}
	e.ID = event.DerivedID(d.Stream, strconv.FormatUint(d.Sequence, 10), strconv.FormatInt(d.StoredAt.UnixNano(), 10))
	return envelopeMsg(subject, e), nil
}

// Dead is a dead letter and its place, which names it.
type Dead struct {
	Sequence uint64
	Subject  string
	event.DeadLetter
}

// DeadLetters yields the dead letters whose subject fits the filter, such as
// "dead.*.shop.*"; "" means all. It ends with the newest one. Rejected events,
// which have the same subjects, are not among them.
func (b *Bus) DeadLetters(ctx context.Context, filter string) iter.Seq2[Dead, error] {
	if filter == "" {
		filter = "dead.>"
	}
	return func(yield func(Dead, error) bool) {
		for d, err := range b.Tail(ctx, TailOptions{Subjects: []string{filter}, All: true, ToEnd: true}) {
			var dead Dead
			if err == nil && first(d.Header, headerType) == event.RejectedType {
				continue
			}
			if err == nil {
				dead, err = readDead(d.Subject, d.Sequence, d.Header, d.Body)
			}
			if !yield(dead, err) {
				return
			}
		}
	}
}

func readDead(subject string, sequence uint64, header map[string][]string, body []byte) (Dead, error) {
	dead := Dead{Sequence: sequence, Subject: subject}
	e, err := event.Decode(header, body)
	if err == nil && e.Type == event.RejectedType {
		err = fault.New(fault.Malformed, "it is a rejected event").WithFix("`publisher rejected show %d` shows it", sequence)
	}
	if err == nil {
		err = json.Unmarshal(e.Data, &dead.DeadLetter)
	}
	if err != nil {
		return dead, fmt.Errorf("reading the dead letter %d: %w", sequence, err)
	}
	return dead, nil
}

// Replay sends the message of a dead letter again, to where it was published
// first. Its expiry time is left out, and the header Parley-Replay tells that
// it is no accidental repetition: see Delivery.Replay. Replaying a letter again
// within a few minutes sends nothing: Receipt.Duplicate. The letter stays.
func (b *Bus) Replay(ctx context.Context, sequence uint64) (Receipt, error) {
	var raw *jetstream.RawStreamMsg
	err := b.guard(ctx, "$JS.API.", func(ctx context.Context) error {
		stream, err := b.js.Stream(ctx, StreamDead)
		if err != nil {
			return err
		}
		raw, err = stream.GetMsg(ctx, sequence)
		if gone(err) {
			return fault.New(fault.Malformed, "there is no dead letter %d", sequence).WithFix("`publisher replay` lists them")
		}
		return err
	})
	if err != nil {
		return Receipt{}, fmt.Errorf("reading the dead letter %d: %w", sequence, err)
	}
	dead, err := readDead(raw.Subject, sequence, raw.Header, raw.Data)
	if err != nil {
		return Receipt{}, err
	}
	subject, err := publishedOn(dead)
	if err != nil {
		return Receipt{}, err
	}
	header, body := again(dead)
	place := strconv.FormatUint(sequence, 10)
	header[headerReplay] = []string{place}
	header[nats.MsgIdHdr] = []string{event.DerivedID("replay", place, first(raw.Header, nats.MsgIdHdr))}
	return b.send(&nats.Msg{Subject: subject, Header: header, Data: body}, nil).Wait(ctx)
}

// publishedOn returns the subject that the message was published on.
func publishedOn(dead Dead) (string, error) {
	if dead.Stream != StreamCommands {
		return dead.DeadLetter.Subject, nil
	}
	address, err := event.ParseCommandSubject(dead.DeadLetter.Subject)
	if err != nil {
		return "", fmt.Errorf("replaying the dead letter %d: %w", dead.Sequence, err)
	}
	return event.CommandSubject(address.Class, address.Action, address.Site, address.Session), nil
}

// again returns the message without what belonged to its first way: the
// server's headers, the inbox of a caller who waits no more, and the expiry
// time. A message that cannot be read is sent as it was.
func again(dead Dead) (header map[string][]string, body []byte) {
	header, body = maps.Clone(dead.Headers), dead.Body
	if e, err := event.Decode(dead.Headers, dead.Body); err == nil {
		e.Extensions = maps.Clone(e.Extensions)
		delete(e.Extensions, event.ExtExpiryTime)
		header, body = event.Encode(e)
	}
	if header == nil {
		header = map[string][]string{}
	}
	maps.DeleteFunc(header, func(name string, _ []string) bool {
		return strings.HasPrefix(name, "Nats-") || strings.HasPrefix(name, "Parley-")
	})
	return header, body
}

// Bury stores a dead letter of a message that no consumer settles, such as one
// of Read, and returns when it is stored. Burying the message again within a few
// minutes stores nothing more.
func (b *Bus) Bury(ctx context.Context, d *Delivery, why error) error {
	letter, err := letterOf(d, fault.From(why))
	if err == nil {
		_, err = b.send(letter, nil).Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("burying the message %d of %s: %w", d.Sequence, d.Stream, err)
	}
	return nil
}
