// Package salesforce brings contacts or leads, and chats, into one org of
// Salesforce. It speaks the REST API over a thin client of its own, and writes
// by external ids, so that a repetition changes nothing.
package salesforce

import (
	"net/http"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/crm"
)

// Object is what a person is in the org.
type Object string

// The objects.
const (
	Contact Object = "Contact"
	Lead    Object = "Lead"
)

// Objects returns the objects that there are.
func Objects() []Object { return []Object{Contact, Lead} }

// prefix begins the ids of the object's records.
func (o Object) prefix() string {
	if o == Lead {
		return "00Q"
	}
	return "003"
}

// Kind is what a chat session becomes.
type Kind string

// The kinds.
const (
	Task  Kind = "task"  // A task of the person, which changes with the session.
	Event Kind = "event" // A platform event, published when the session has ended; at least once.
	None  Kind = "none"  // Nothing.
)

// Kinds returns the kinds that there are.
func Kinds() []Kind { return []Kind{Task, Event, None} }

// Choice is the name in a mapping under which it says of a person whether they
// are a Contact or a Lead.
const Choice = "sobject"

// Options are the settings of a connector. The zero value works.
type Options struct {
	// Base is the address of the API; "" is the account's instance_url.
	Base string
	// Version is the version in the paths of the API, such as "62.0".
	Version string
	// Object is what a person becomes when the mapping does not say; "" is Contact.
	Object Object
	// Key is the field of contacts and leads for our key: an external id, and
	// unique. Seq is the one for the sequence, and may be missing in the org.
	Key, Seq string
	// ActivityKey is the field of activities for our key, CaseKey that of cases.
	ActivityKey, CaseKey string
	// Activities is what a chat session becomes; "" is Task.
	Activities Kind
	// EventType is the platform event's name.
	EventType string
	// Cases makes a case of a request for a human, once. Origin is where it comes
	// from.
	Cases  bool
	Origin string
	// NoMatch leaves records alone that others made of the same e-mail address.
	NoMatch bool
	// AllowDuplicates saves what the org's duplicate rules warn of.
	AllowDuplicates bool
	// Fallback fills required fields of a new record of which nothing is known.
	Fallback map[string]string
	// Reserve is the share of the org's calls of a day that is left to others, from
	// 0 to 1.
	Reserve float64
	// Rate is the calls per second, and Burst how many may come at once: of calls
	// to the connector, each of which takes one to four of Salesforce's.
	Rate  float64
	Burst int
	// Timeout is of one request; 0 is 30 s.
	Timeout time.Duration
	// Transport carries the requests. Nil is a plain one, without a proxy.
	Transport http.RoundTripper
	// Now is the clock. Nil is the real one.
	Now func() time.Time
}

const (
	// maxBatch is the most records of a collection.
	maxBatch = 200
	// maxAnswer is the most bytes of an answer.
	maxAnswer = 10 << 20
	// schemaAge is how long the fields of the org are believed, and schemaYoung how
	// long a lack is.
	schemaAge, schemaYoung = 24 * time.Hour, time.Minute
	// maxList is the most bytes of the values in one query: it is part of an
	// address.
	maxList = 6 << 10
)

func (o Options) filled() Options {
	fill := func(at *string, value string) {
		if *at == "" {
			*at = value
		}
	}
	fill(&o.Version, "62.0")
	fill((*string)(&o.Object), string(Contact))
	fill(&o.Key, "Parley_Key__c")
	fill(&o.Seq, "Parley_Seq__c")
	fill(&o.ActivityKey, "Parley_Key__c")
	fill(&o.CaseKey, "Parley_Key__c")
	fill((*string)(&o.Activities), string(Task))
	fill(&o.EventType, "Parley_Chat__e")
	fill(&o.Origin, "Chat")
	if o.Fallback == nil {
		o.Fallback = map[string]string{"LastName": "Unknown", "Company": "Unknown"}
	}
	if o.Rate == 0 {
		o.Rate, o.Burst = 5, 10
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 8}
	}
	return o
}

// Connector writes to one org. It is safe for use by many goroutines.
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
func (*Connector) Name() string { return "salesforce" }

// Limits implements crm.Connector. One call at a time: writes to children of one
// account at once lock each other out, and a call holds 200 records.
func (c *Connector) Limits() crm.Limits {
	l := crm.Limits{Contacts: maxBatch, Activities: maxBatch, Rate: c.o.Rate, Burst: c.o.Burst, Parallel: 1, Timeout: 6 * c.o.Timeout}
	if c.o.Activities == Event {
		l.Activities = 1
	}
	return l
}

// Budget implements crm.Budgeted.
func (c *Connector) Budget() crm.Budget {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.budget
}

// Mapping implements crm.Mapper.
func (c *Connector) Mapping() crm.Mapping {
	m := crm.Mapping{
		Contact: map[string]crm.FieldMapping{
			"Email":     {Value: "${visitor.email}"},
			"FirstName": {Value: "${has(traits.first_name) ? traits.first_name : traits.firstName}"},
			"LastName":  {Value: "${has(traits.last_name) ? traits.last_name : traits.lastName}"},
			"Phone":     {Value: "${traits.phone}"},
		},
		Activity: map[string]crm.FieldMapping{},
	}
	if c.o.Activities == Task {
		m.Activity["Status"] = crm.FieldMapping{Value: "${record.ended ? 'Completed' : 'In Progress'}"}
		m.Activity["Priority"] = crm.FieldMapping{Value: "Normal"}
	}
	return m
}

// Close closes the connections that wait for another request.
func (c *Connector) Close() error {
	if idle, ok := c.o.Transport.(interface{ CloseIdleConnections() }); ok {
		idle.CloseIdleConnections()
	}
	return nil
}
