// Package pipedrive brings persons and chats into one company's account of
// Pipedrive. Pipedrive has no upsert, so the connector keeps which record is
// which, notes before it makes one that it does, and looks for it when the answer
// does not come.
package pipedrive

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/internal/crm"
)

// Kind is what a chat session becomes.
type Kind string

// The kinds.
const (
	Activity Kind = "activity" // An activity of the person, which changes with the session.
	Note     Kind = "note"     // A note of the person, which changes with the session.
	None     Kind = "none"     // Nothing.
)

// Kinds returns the kinds that there are.
func Kinds() []Kind { return []Kind{Activity, Note, None} }

// Options are the settings of a connector. The zero value works.
type Options struct {
	// Base is the address of the API; "" is the account's api_domain.
	Base string
	// Key is the name of the persons' field for our key, and Seq that of the one for
	// the sequence, which may be missing.
	Key, Seq string
	// Activities is what a chat session becomes; "" is Activity.
	Activities Kind
	// Type is the type of activities, by its key.
	Type string
	// Unnamed is the name of a person of whom none is known.
	Unnamed string
	// NoMatch leaves persons alone that others made of the same e-mail address.
	NoMatch bool
	// NoMerge leaves two persons alone that turn out to be one.
	NoMerge bool
	// IDs keeps which record is which. Nil keeps it in memory: then a crash between
	// a creation and the engine's next save is found by a search only.
	IDs IDs
	// Settle is how long after a creation without an answer it may still turn up.
	// It is at least the timeout and a half.
	Settle time.Duration
	// Rate is the calls per second, and Burst how many may come at once: of calls
	// to the connector, each of which takes one to three of Pipedrive's.
	Rate  float64
	Burst int
	// Timeout is of one request; 0 is 20 s.
	Timeout time.Duration
	// Transport carries the requests. Nil is a plain one, without a proxy.
	Transport http.RoundTripper
	// Now is the clock. Nil is the real one.
	Now func() time.Time
}

const (
	// maxAnswer is the most bytes of an answer.
	maxAnswer = 10 << 20
	// schemaAge is how long the fields of the account are believed, and schemaYoung
	// how long a lack is.
	schemaAge, schemaYoung = 24 * time.Hour, time.Minute
	// maxPages is how much is read of what changed lately, and pageSize the records
	// of a page.
	maxPages, pageSize = 5, 200
)

func (o Options) filled() Options {
	fill := func(at *string, value string) {
		if *at == "" {
			*at = value
		}
	}
	fill(&o.Key, "Parley key")
	fill(&o.Seq, "Parley sequence")
	fill((*string)(&o.Activities), string(Activity))
	fill(&o.Type, "task")
	fill(&o.Unnamed, "Unknown visitor")
	if o.Rate == 0 {
		o.Rate, o.Burst = 8, 16 // The smallest plan has 80 requests in two seconds for an app.
	}
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	o.Settle = max(o.Settle, o.Timeout*3/2)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 8}
	}
	return o
}

// Connector writes to one account. It is safe for use by many goroutines, for
// different contacts.
type Connector struct {
	o      Options
	tokens crm.Tokens
	ids    IDs
	count  counts

	mu     sync.Mutex // guards the fields below
	schema *schema
	budget crm.Budget
}

// counts are what Stats tells.
type counts struct{ made, found, again, twice, merged atomic.Uint64 }

// Stats tells how creations went.
type Stats struct {
	// Made counts creations that were answered, and Found those without an answer
	// that had taken effect, and were found.
	Made, Found uint64
	// Again counts creations that were repeated, since nothing was found in time.
	Again uint64
	// Duplicates counts records that turned up twice after that, and are left for
	// people to merge; Merged counts persons that were merged.
	Duplicates, Merged uint64
}

// New returns a connector that uses the tokens. It makes no request.
func New(tokens crm.Tokens, o Options) *Connector {
	c := &Connector{o: o.filled(), tokens: tokens, ids: o.IDs}
	if c.ids == nil {
		c.ids = newMemory()
	}
	return c
}

// Name implements crm.Connector.
func (*Connector) Name() string { return "pipedrive" }

// Limits implements crm.Connector: Pipedrive takes records one by one.
func (c *Connector) Limits() crm.Limits {
	return crm.Limits{Contacts: 1, Activities: 1, Rate: c.o.Rate, Burst: c.o.Burst, Parallel: 4, Timeout: 6 * c.o.Timeout}
}

// Budget implements crm.Budgeted.
func (c *Connector) Budget() crm.Budget {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.budget
}

// Stats returns how creations went since the connector was made.
func (c *Connector) Stats() Stats {
	return Stats{Made: c.count.made.Load(), Found: c.count.found.Load(), Again: c.count.again.Load(), Duplicates: c.count.twice.Load(), Merged: c.count.merged.Load()}
}

// Mapping implements crm.Mapper.
func (c *Connector) Mapping() crm.Mapping {
	return crm.Mapping{
		Contact: map[string]crm.FieldMapping{
			"name":  {Value: "${traits.name}"},
			"email": {Value: "${visitor.email}"},
			"phone": {Value: "${traits.phone}"},
		},
		Activity: map[string]crm.FieldMapping{},
	}
}

// Close closes the connections that wait for another request.
func (c *Connector) Close() error {
	if idle, ok := c.o.Transport.(interface{ CloseIdleConnections() }); ok {
		idle.CloseIdleConnections()
	}
	return nil
}
