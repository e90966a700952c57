// Package oauth stands in for the OAuth servers of HubSpot, Salesforce and
// Pipedrive, each on its real host names, and for whoever issues BotStar's
// tokens. The servers are strict: redirect addresses match exactly, codes serve
// once, PKCE is checked, and a refresh token that is used twice ends its whole
// family, as RFC 9700 asks for. A ledger tells what happened.
package oauth

import (
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// The vendors.
const (
	HubSpot    = "hubspot"
	Salesforce = "salesforce"
	Pipedrive  = "pipedrive"
	BotStar    = "botstar"
)

// BotStarHost is where BotStar's API checks its tokens. Hosts leaves it to
// whoever stands in for that API; see BotStarAPI.
const BotStarHost = "apis.botstar.com"

// codeLife is how long a code may be exchanged.
const codeLife = time.Minute

// Client is an app that is registered at a vendor.
type Client struct {
	ID string
	// Secrets are those that are good.
	Secrets []string
	// Redirects are the addresses that a person may be sent back to.
	Redirects []string
	// Scopes are those that the app may ask for; nil means all.
	Scopes []string
}

// Options shape a stand-in.
type Options struct {
	// Clients are the registered apps of each vendor.
	Clients map[string][]Client
	// Life is how long an access token is good; 0 means each vendor's own.
	Life time.Duration
	// Now is the vendors' clock. Nil means the real one.
	Now func() time.Time
	// Keep has refresh tokens last: the server does not rotate them, as Salesforce
	// is set by default.
	Keep bool
}

// Standin is one stand-in for all vendors. It is safe for use by many
// goroutines.
type Standin struct {
	o      Options
	ledger *Ledger

	mu       sync.Mutex // guards the fields below
	clients  map[string][]Client
	faults   map[string]Faults
	asks     map[string]*ask
	codes    map[string]*code
	access   map[string]*grant
	refresh  map[string]*grant
	families map[*family]bool
}

// New returns a stand-in without faults and with an empty ledger.
func New(o Options) *Standin {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Standin{
		o: o, ledger: newLedger(), clients: o.Clients, faults: map[string]Faults{}, asks: map[string]*ask{}, codes: map[string]*code{},
		access: map[string]*grant{}, refresh: map[string]*grant{}, families: map[*family]bool{},
	}
}

// vendor is how a vendor's server differs from the others.
type vendor struct {
	name, title string
	authorize   string // the path
	token       string
	revoke      string
	introspect  string
	inspect     string // of tokens that were made by hand
	probe       string
	// basic wants the client in a header, and in no other place.
	basic bool
	// pkce refuses a request without it.
	pkce bool
	life time.Duration
	// silent answers without expires_in.
	silent bool
	// legacy adds HubSpot's older words to errors.
	legacy  bool
	account map[string]any
}

//nolint:gosec // Addresses and names of fields; no credentials.
func vendors() []vendor {
	return []vendor{
		{
			name: HubSpot, title: "HubSpot", authorize: "/oauth/authorize", token: "/oauth/2026-03/token",
			revoke: "/oauth/2026-03/token/revoke", introspect: "/oauth/2026-03/token/introspect", probe: "/account-info/v3/details",
			inspect: "/oauth/v2/private-apps/get/access-token-info",
			pkce:    true, life: 30 * time.Minute, legacy: true,
			account: map[string]any{"hub_id": 4711, "user_id": 42, "token_use": "access_token"},
		},
		{
			name: Salesforce, title: "Salesforce", authorize: "/services/oauth2/authorize", token: "/services/oauth2/token",
			revoke: "/services/oauth2/revoke", introspect: "/services/oauth2/introspect", probe: "/services/oauth2/userinfo",
			pkce: true, life: 2 * time.Hour, silent: true,
			account: map[string]any{
				"instance_url": "https://demo.my.salesforce.com", "id": "https://login.salesforce.com/id/00D0/0050", "signature": "c2ln", "issued_at": "1764000000000",
			},
		},
		{
			name: Pipedrive, title: "Pipedrive", authorize: "/oauth/authorize", token: "/oauth/token", revoke: "/oauth/revoke",
			probe: "/api/v1/users/me", basic: true, life: time.Hour,
			account: map[string]any{"api_domain": "https://demo.pipedrive.com"},
		},
	}
}

// Hosts returns the handler of each host name.
func (s *Standin) Hosts() map[string]http.Handler {
	hosts := map[string]http.Handler{}
	for _, v := range vendors() {
		h := s.serve(v)
		switch v.name {
		case HubSpot:
			hosts["app.hubspot.com"], hosts["api.hubapi.com"] = h, h
		case Salesforce:
			hosts["login.salesforce.com"], hosts["test.salesforce.com"], hosts["demo.my.salesforce.com"] = h, h, h
		case Pipedrive:
			hosts["oauth.pipedrive.com"], hosts["demo.pipedrive.com"] = h, h
		}
	}
	return hosts
}

func (s *Standin) serve(v vendor) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+v.authorize, func(w http.ResponseWriter, r *http.Request) { s.showConsent(v, w, r) })
	mux.HandleFunc("POST "+v.authorize, func(w http.ResponseWriter, r *http.Request) { s.takeConsent(v, w, r) })
	mux.HandleFunc("POST "+v.token, func(w http.ResponseWriter, r *http.Request) { s.serveToken(v, w, r) })
	mux.HandleFunc("POST "+v.revoke, func(w http.ResponseWriter, r *http.Request) { s.serveRevoke(v, w, r) })
	mux.HandleFunc("GET "+v.probe, func(w http.ResponseWriter, r *http.Request) { s.serveProbe(v.name, w, r) })
	if v.inspect != "" {
		mux.HandleFunc("POST "+v.inspect, func(w http.ResponseWriter, r *http.Request) { s.serveInspect(v, w, r) })
	}
	if v.introspect != "" {
		mux.HandleFunc("POST "+v.introspect, func(w http.ResponseWriter, r *http.Request) { s.serveIntrospect(v, w, r) })
	}
	return mux
}

// BotStarAPI returns a handler that answers GET /v1/bots as BotStar's API does.
func (s *Standin) BotStarAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/bots", func(w http.ResponseWriter, r *http.Request) { s.serveProbe(BotStar, w, r) })
	return mux
}

// Ledger returns what happened.
func (s *Standin) Ledger() *Ledger { return s.ledger }

// Set changes the faults of a vendor.
func (s *Standin) Set(vendor string, f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[vendor] = f
}

// Register replaces the apps of a vendor, as somebody who rotates a secret does.
func (s *Standin) Register(vendor string, clients ...Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[string][]Client{vendor: clients}
	for name, others := range s.clients {
		if name != vendor {
			next[name] = others
		}
	}
	s.clients = next
}

// Issue returns a new token of BotStar, which lives until Withdraw.
func (s *Standin) Issue() string { return s.issue(BotStar, "bst", nil) }

// IssuePrivate returns the token of a new private app of HubSpot, which may do
// what the scopes say.
func (s *Standin) IssuePrivate(scopes ...string) string { return s.issue(HubSpot, "pat-eu1", scopes) }

// issue makes a token by hand.
func (s *Standin) issue(vendor, prefix string, scopes []string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := &grant{token: newToken(prefix), family: s.newFamily(vendor, "", scopes)}
	s.access[g.token] = g
	s.ledger.add(Entry{Vendor: vendor, Kind: Issued, Token: mark(g.token)})
	return g.token
}

// Withdraw ends a token, and everything of its family, as an administrator of
// the account does.
func (s *Standin) Withdraw(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, grants := range []map[string]*grant{s.access, s.refresh} {
		if g := grants[token]; g != nil {
			g.family.ended = true
		}
	}
}

// Valid reports whether the vendor takes the access token.
func (s *Standin) Valid(vendor, token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.valid(vendor, token)
}

func (s *Standin) valid(vendor, token string) bool {
	g := s.access[token]
	return g != nil && g.family.vendor == vendor && !g.family.ended && !g.ended && (g.until.IsZero() || s.o.Now().Before(g.until))
}

// Expired reports whether the access token was good at the vendor until its time
// was over.
func (s *Standin) Expired(vendor, token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.access[token]
	return g != nil && g.family.vendor == vendor && !g.family.ended && !g.ended && !g.until.IsZero() && !s.o.Now().Before(g.until)
}

// Family returns the number of the family of a token, or 0.
func (s *Standin) Family(token string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, grants := range []map[string]*grant{s.access, s.refresh} {
		if g := grants[token]; g != nil {
			return g.family.number
		}
	}
	return 0
}

// Secrets returns every secret that the vendors know: clients' secrets, codes,
// tokens. Tests look for them where they must not be.
func (s *Standin) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, apps := range s.clients {
		for _, app := range apps {
			all = append(all, app.Secrets...)
		}
	}
	all = slices.AppendSeq(all, maps.Keys(s.codes))
	all = slices.AppendSeq(all, maps.Keys(s.access))
	return slices.AppendSeq(all, maps.Keys(s.refresh))
}

// Families returns how many families of tokens a vendor has, and how many of
// them have ended.
func (s *Standin) Families(vendor string) (all, ended int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.families {
		if f.vendor != vendor {
			continue
		}
		all++
		if f.ended {
			ended++
		}
	}
	return all, ended
}
