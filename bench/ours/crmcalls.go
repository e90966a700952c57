package ours

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/hubspot"
	"github.com/parley-chat/parley/internal/standin"
	vendor "github.com/parley-chat/parley/internal/standin/hubspot"
)

const (
	// chatEvents is how many events a chat has: who it is, nine times open and
	// closed, and who it is again.
	chatEvents = 20
	// chatPause is between an opening and the next one.
	chatPause = 800 * time.Millisecond
	// hubspotToken is taken by the stand-in, as any.
	hubspotToken = "a token of the benchmark's account"
)

// crmCalls counts the calls that HubSpot gets for what happens.
type crmCalls struct {
	vendor *vendor.Standin
	hosts  *standin.Server
	client *http.Client
	crm    *hubspot.Connector
	bus    *bus.Bus
	sent   int // chats
}

func startCRMCalls(ctx context.Context, s contend.Setup) (*crmCalls, error) {
	c := &crmCalls{vendor: vendor.New(vendor.Options{})}
	var err error
	if c.hosts, err = standin.Start(slog.New(slog.DiscardHandler), c.vendor.Hosts(nil)); err != nil {
		return nil, fmt.Errorf("starting the stand-in: %w", err)
	}
	c.client = c.hosts.Client()
	c.crm = hubspot.New(heldToken{}, hubspot.Options{Transport: c.client.Transport})
	if c.bus, err = openBus(ctx, bus.Options{Dir: s.Dir}); err != nil {
		return nil, errors.Join(err, c.hosts.Close())
	}
	if _, err := c.crm.Prepare(ctx, false); err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the account: %w", err), c.Close())
	}
	return c, nil
}

// heldToken lends the token of the account.
type heldToken struct{}

// Do implements crm.Tokens.
func (heldToken) Do(ctx context.Context, call func(ctx context.Context, t crm.Token) error) error {
	return call(ctx, heldToken{})
}

// Authorize implements crm.Token.
func (heldToken) Authorize(h http.Header) { h.Set("Authorization", "Bearer "+hubspotToken) }

// Reveal implements crm.Token.
func (heldToken) Reveal() string { return hubspotToken }

// Account implements crm.Token.
func (heldToken) Account(string) string { return "" }

// Round has the chats go on at the same time, and counts the calls until the
// account has all of it. The target is a new one in every round, so that its
// look at the account's properties counts.
func (c *crmCalls) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	before := c.vendor.Count("")
	stop, err := serveTarget(ctx, c.bus, crm.Options{Name: "bench", Connector: c.crm, Since: time.Hour, Window: 2 * time.Second})
	if err != nil {
		return contend.Report{}, err
	}
	err = c.happen(ctx, o.Jobs)
	if err == nil {
		err = until(ctx, func() bool { return c.missing() == 0 })
	}
	if err = errors.Join(err, stop()); err != nil {
		return contend.Report{}, fmt.Errorf("%d of %d chats are not as they ended: %w", c.missing(), c.sent, err)
	}
	calls := float64(c.vendor.Count("") - before)
	return contend.Report{Jobs: o.Jobs, Values: map[string]float64{
		contend.CallsPerThousand: 1000 * calls / float64(o.Jobs*chatEvents),
	}}, nil
}

// happen publishes all that happens in so many new chats.
func (c *crmCalls) happen(ctx context.Context, chats int) error {
	m, at := &mail{bus: c.bus}, time.Now().Add(-time.Minute)
	each := func(do func(message.Chat) (message.Letter, error)) error {
		for i := range chats {
			l, err := do(message.ChatOf(c.sent + i))
			if err := m.put(ctx, l, err); err != nil {
				return err
			}
		}
		return m.stored(ctx, len(m.waiting))
	}
	know := func(name string) error {
		return each(func(chat message.Chat) (message.Letter, error) {
			return chat.Known(at, map[string]any{"first_name": name})
		})
	}
	err := know("Ada")
	for turn := 0; turn < (chatEvents-2)/2 && err == nil; turn++ {
		err = errors.Join(
			wait(ctx, chatPause),
			each(func(chat message.Chat) (message.Letter, error) { return chat.Opened(at) }),
			each(func(chat message.Chat) (message.Letter, error) { return chat.Closed(at.Add(time.Second)) }),
		)
		at = at.Add(2 * time.Second)
	}
	err = errors.Join(err, know("Augusta"))
	c.sent += chats
	return err
}

// wait lets time pass.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting: %w", context.Cause(ctx))
	}
}

// missing returns how many chats the account does not have as they ended, each
// once and with its contact.
func (c *crmCalls) missing() int {
	people, chats := 0, 0
	for _, r := range c.vendor.Records("contacts") {
		if r.Properties["firstname"] == "Augusta" {
			people++
		}
	}
	for _, r := range c.vendor.Records("notes") {
		if len(r.Ties) == 1 && strings.Contains(r.Properties["hs_note_body"], "Open for 9s") {
			chats++
		}
	}
	return max(c.sent-people, c.sent-chats, len(c.vendor.Records("contacts"))-c.sent, len(c.vendor.Records("notes"))-c.sent)
}

// Close ends the connector, the stand-in and the bus.
func (c *crmCalls) Close() error {
	return errors.Join(c.crm.Close(), c.hosts.Close(), shut(context.Background(), c.bus))
}
