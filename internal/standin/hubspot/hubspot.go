// Package hubspot stands in for HubSpot's CRM API on its real host name: the
// date-versioned paths for contacts, notes and communications, their properties
// and associations, and events of apps. It is strict where HubSpot is, and it
// answers as HubSpot does where that hurts. A ledger tells what was written.
package hubspot

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"net/http"
	"sync"
	"time"
)

// Host is where the API is.
const Host = "api.hubapi.com"

// Standing is what the API thinks of a token.
type Standing int

// The standings.
const (
	Unknown Standing = iota
	Good
	Expired
)

// Options shape a stand-in. The zero value works, and takes every token.
type Options struct {
	// Auth judges tokens. Nil takes every one.
	Auth func(token string) Standing
	// Now is the clock. Nil is the real one.
	Now func() time.Time
	// Limit is how many calls may be made in ten seconds, the search excluded; 0
	// sets no limit. Daily is the same for a day. SearchLimit is for a second of
	// the search.
	Limit, Daily, SearchLimit int
	// Lag is how long the search does not know of a change.
	Lag time.Duration
	// Blank has an upsert by e-mail address empty what it leaves out. Otherwise it
	// is refused.
	Blank bool
	// Events are the types of events of the app, with the names of their
	// properties.
	Events map[string][]string
	// App is the id of the app in the history of properties.
	App string
	// Keep is how many calls the ledger holds; 0 is 100,000.
	Keep int
}

// Standin is one account of HubSpot. It is safe for use by many goroutines.
type Standin struct {
	o      Options
	ledger *ledger
	chance chance
	quota  quota
	mux    *http.ServeMux

	mu         sync.Mutex // guards the fields below
	properties map[string]map[string]Property
	groups     map[string]map[string]bool
	kinds      map[string]*shelf
	ties       map[tie]bool
	events     map[string]map[string]string // by the type and the id
	lastID     int
}

// tie is an association.
type tie struct{ from, fromID, to, toID string }

// New returns an empty account without faults.
func New(o Options) *Standin {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Auth == nil {
		o.Auth = func(string) Standing { return Good }
	}
	if o.Keep == 0 {
		o.Keep = 100_000
	}
	if o.App == "" {
		o.App = "4711"
	}
	s := &Standin{
		o: o, ledger: newLedger(o.Keep), properties: builtIn(), groups: map[string]map[string]bool{}, kinds: map[string]*shelf{},
		ties: map[tie]bool{}, events: map[string]map[string]string{}, lastID: 37_765_128_000,
	}
	for kind := range s.properties {
		s.kinds[kind] = newShelf()
		s.groups[kind] = map[string]bool{"contactinformation": true}
	}
	s.mux = s.routes()
	return s
}

// Hosts returns the handler of each host name. What is not of the CRM is left to
// the other handlers, such as those of the OAuth server.
func (s *Standin) Hosts(others map[string]http.Handler) map[string]http.Handler {
	hosts := map[string]http.Handler{}
	maps.Copy(hosts, others)
	hosts[Host] = s.or(hosts[Host])
	return hosts
}

// or leaves to the other handler what is not of the CRM.
func (s *Standin) or(other http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := s.mux.Handler(r); pattern == "" && other != nil {
			other.ServeHTTP(w, r)
			return
		}
		s.ServeHTTP(w, r)
	})
}

// operation does one call. The status is of a success; a problem overrides it.
type operation func(r *request) (status int, body any, bad *problem)

func (s *Standin) routes() *http.ServeMux {
	mux := http.NewServeMux()
	add := func(pattern, name string, search bool, do operation) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, name, search, do) })
	}
	add("POST /crm/objects/{version}/{kind}/batch/upsert", "upsert", false, s.upsert)
	add("POST /crm/objects/{version}/{kind}/batch/update", "update", false, s.update)
	add("POST /crm/objects/{version}/{kind}/batch/read", "read", false, s.read)
	add("POST /crm/objects/{version}/{kind}/search", "search", true, s.search)
	add("POST /crm/objects/{version}/contacts/merge", "merge", false, s.merge)
	add("POST /crm/objects/{version}/contacts/gdpr-delete", "gdpr-delete", false, s.erase)
	add("GET /crm/properties/{version}/{kind}", "properties", false, s.listProperties)
	add("POST /crm/properties/{version}/{kind}", "property", false, s.makeProperty)
	add("POST /crm/properties/{version}/{kind}/groups", "group", false, s.makeGroup)
	add("POST /crm/associations/{version}/{from}/{to}/batch/associate/default", "associate", false, s.associate)
	add("POST /integrators/timeline/{version}/events", "event", false, s.takeEvent)
	return mux
}

// ServeHTTP answers as api.hubapi.com does.
func (s *Standin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, pattern := s.mux.Handler(r); pattern == "" {
		s.ledger.call(Call{At: s.o.Now(), Operation: "none", Path: r.URL.Path, Status: http.StatusNotFound})
		notFound("resource not found").write(w)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// correlation returns an id such as HubSpot gives each answer.
func correlation() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	text := hex.EncodeToString(b)
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}
