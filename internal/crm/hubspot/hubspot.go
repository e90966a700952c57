// Package hubspot brings contacts and chats into one account of HubSpot. It
// speaks the date-versioned API over a thin client of its own.
package hubspot

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/crm"
)

// Kind is what a chat session becomes on the timeline of its contact.
type Kind string

// The kinds.
const (
	Note          Kind = "note"          // A note, which changes with the session.
	Communication Kind = "communication" // A communication of a channel, which changes with the session.
	Event         Kind = "event"         // An event of our app, written once when the session has ended.
	None          Kind = "none"          // Nothing.
)

// Kinds returns the kinds that there are.
func Kinds() []Kind { return []Kind{Note, Communication, Event, None} }

// Options are the settings of a connector. The zero value works.
type Options struct {
	// Base is the address of the API, and Version the date in its paths.
	Base, Version string
	// Key is the contacts' property for our key, which must be unique, and Seq the
	// one for the sequence. The latter may be missing in the account.
	Key, Seq string
	// ActivityKey is the property for our key of notes and communications.
	ActivityKey string
	// Activities is what a chat session becomes; "" is Note.
	Activities Kind
	// Channel is the type of a Communication.
	Channel string
	// EventType is the name of the type of an Event, which the app defines.
	EventType string
	// NoMerge leaves two contacts alone that turn out to be one person. Otherwise
	// one that we made, and that has no e-mail address, is merged into the other.
	NoMerge bool
	// App is the id of our app at HubSpot, whose own changes are not told.
	App string
	// Rate is the calls per second, and Burst how many may come at once: of calls
	// to the connector, each of which takes one to three of HubSpot's.
	Rate  float64
	Burst int
	// Transport carries the requests. Nil is a plain one, without a proxy.
	Transport http.RoundTripper
	// Now is the clock. Nil is the real one.
	Now func() time.Time
}

const (
	// maxBatch is the most records of a batch.
	maxBatch = 100
	// maxAnswer is the most bytes of an answer.
	maxAnswer = 10 << 20
	// timeout is of one request.
	timeout = 30 * time.Second
	// schemaAge is how long the properties of the account are believed.
	schemaAge = 24 * time.Hour
	// contacts is the type of the objects that people are.
	contacts = "contacts"
)

func (o Options) filled() Options {
	fill := func(at *string, value string) {
		if *at == "" {
			*at = value
		}
	}
	fill(&o.Base, "https://api.hubapi.com")
	fill(&o.Version, "2026-03")
	fill(&o.Key, "parley_key")
	fill(&o.Seq, "parley_seq")
	fill(&o.ActivityKey, "parley_activity_key")
	fill((*string)(&o.Activities), string(Note))
	fill(&o.Channel, "CUSTOM_CHANNEL_CONVERSATION")
	if o.Rate == 0 {
		// An OAuth app has 110 requests in 10 seconds for each account.
		o.Rate, o.Burst = 5, 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 8}
	}
	return o
}

// Connector writes to one account. It is safe for use by many goroutines.
type Connector struct {
	o      Options
	tokens crm.Tokens

	mu      sync.Mutex // guards the fields below
	schemas map[string]*schema
	budget  crm.Budget
}

// New returns a connector that uses the tokens. It makes no request.
func New(tokens crm.Tokens, o Options) *Connector {
	return &Connector{o: o.filled(), tokens: tokens, schemas: map[string]*schema{}}
}

// Name implements crm.Connector.
func (*Connector) Name() string { return "hubspot" }

// Limits implements crm.Connector.
func (c *Connector) Limits() crm.Limits {
	l := crm.Limits{Contacts: maxBatch, Activities: maxBatch, Rate: c.o.Rate, Burst: c.o.Burst, Parallel: 4, Timeout: timeout, Rules: true}
	if c.o.Activities == Event {
		l.Activities = 1 // There is no batch of them in this version.
	}
	return l
}

// Budget implements crm.Budgeted.
func (c *Connector) Budget() crm.Budget {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.budget
}

// Close closes the connections that wait for another request.
func (c *Connector) Close() error {
	if idle, ok := c.o.Transport.(interface{ CloseIdleConnections() }); ok {
		idle.CloseIdleConnections()
	}
	return nil
}

// objects returns the path of the objects of a type.
func (c *Connector) objects(kind, verb string) string {
	return "/crm/objects/" + c.o.Version + "/" + kind + verb
}

// Forget implements crm.Forgetter: HubSpot erases the person and what belongs to
// them, and refuses to take the address again.
func (c *Connector) Forget(ctx context.Context, refs []crm.Ref) ([]crm.Outcome, error) {
	ids := map[string]string{}
	var unknown []string
	for _, ref := range refs {
		if id, _ := bare(ref.ID); id != "" {
			ids[ref.Key] = id
			continue
		}
		unknown = append(unknown, ref.Key)
	}
	found, err := c.read(ctx, c.o.Key, unknown, c.o.Key)
	if err != nil {
		return nil, err
	}
	for i := range found {
		ids[found[i].get(c.o.Key)] = found[i].ID
	}
	var outcomes []crm.Outcome
	for _, ref := range refs {
		if id := ids[ref.Key]; id != "" {
			if err := c.erase(ctx, id); err != nil {
				return outcomes, err
			}
		}
		outcomes = append(outcomes, crm.Outcome{Key: ref.Key, Status: crm.Done, ID: ids[ref.Key]})
	}
	return outcomes, nil
}

// erase is done too when there is nobody of the id.
func (c *Connector) erase(ctx context.Context, id string) error {
	err := c.post(ctx, c.objects(contacts, "/gdpr-delete"), "contacts/gdpr-delete", map[string]string{"objectId": id}, nil)
	if isReason(err, vendorNotFound) {
		return nil
	}
	return err
}
