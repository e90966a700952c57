package vault

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// State is how a connection is.
type State string

// The states.
const (
	// Active: it gives tokens.
	Active State = "active"
	// Degraded: the last attempt to get a new token failed, and another one is
	// worth it.
	Degraded State = "degraded"
	// ReauthNeeded: the vendor takes its credentials no more. Only a person can
	// help, by giving consent again. Its record stays.
	ReauthNeeded State = "reauth_needed"
	// Revoked: somebody ended it. It never comes back without new consent.
	Revoked State = "revoked"
	// Unreadable: its record is damaged. It is no stored state.
	Unreadable State = "unreadable"
)

// recordVersion is the form of record.
const recordVersion = 1

// record is all that is known of a connection. It leaves the package sealed
// only. It prints its name.
type record struct {
	Version int   `json:"version"`
	Name    Name  `json:"name"`
	State   State `json:"state"`
	// Why explains a state other than Active.
	Why string `json:"why,omitempty"`
	// Client is how we are known to the vendor's OAuth server; nil for a token
	// that somebody made by hand.
	Client *client `json:"client,omitempty"`
	// Tokens are the live versions, the newest first: at most two.
	Tokens []pair `json:"tokens,omitempty"`
	// Generation counts the pairs that the connection has had.
	Generation uint64 `json:"generation"`
	// Intent is there while a new pair is being asked for. Finding an old one
	// means that somebody died in between, and may have taken a pair along.
	Intent *intent           `json:"intent,omitempty"`
	Scopes []string          `json:"scopes,omitempty"`
	Extra  map[string]string `json:"extra,omitempty"`

	CreatedAt   time.Time `json:"created_at"`
	ConsentAt   time.Time `json:"consent_at"`
	RefreshedAt time.Time `json:"refreshed_at,omitzero"`
	UsedAt      time.Time `json:"used_at,omitzero"`
	WarnedAt    time.Time `json:"warned_at,omitzero"`
	// Recent are the times of the last new pairs, and Failures how many attempts
	// have failed since; RetryAt is when the next one makes sense.
	Recent   []time.Time `json:"recent,omitempty"`
	Failures int         `json:"failures,omitempty"`
	RetryAt  time.Time   `json:"retry_at,omitzero"`
	Problem  string      `json:"problem,omitempty"`
	// Changes counts the changes of the state; Told is the last state that was
	// published.
	Changes uint64 `json:"changes,omitempty"`
	Told    State  `json:"told,omitempty"`
}

// client is a registered OAuth client. The secrets are its live versions, the
// newest first: at most two.
type client struct {
	ID       string   `json:"id"`
	Secrets  []string `json:"secrets,omitempty"`
	Domain   string   `json:"domain,omitempty"` // of Salesforce: the host to log in at
	Redirect string   `json:"redirect,omitempty"`
}

// pair is one version of the tokens. Number is the generation that it came with.
type pair struct {
	Number   uint64    `json:"number"`
	Access   string    `json:"access"`
	Refresh  string    `json:"refresh,omitempty"`
	IssuedAt time.Time `json:"issued_at"`
	// ExpiresAt is zero when nobody said.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// Until ends an older version; zero for the newest one.
	Until time.Time `json:"until,omitzero"`
}

// intent is the mark of an attempt to get a new pair.
type intent struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
	// Lost counts the attempts before, of which nobody knows how they ended.
	Lost int `json:"lost"`
}

// String names the record; nothing of its tokens.
func (r *record) String() string { return r.Name.String() }

// GoString is String.
func (r *record) GoString() string { return r.Name.String() }

// current returns the newest pair, or nil.
func (r *record) current() *pair {
	if len(r.Tokens) == 0 {
		return nil
	}
	return &r.Tokens[0]
}

// refresher returns the refresh token, or "".
func (r *record) refresher() string {
	if p := r.current(); p != nil {
		return p.Refresh
	}
	return ""
}

// push makes the pair the newest one. The one before stays until the time; zero
// means not at all.
func (r *record) push(p pair, until time.Time) {
	if len(r.Tokens) > 0 && !until.IsZero() {
		old := r.Tokens[0]
		old.Refresh, old.Until = "", until // Only one refresh token is ever good.
		r.Tokens = []pair{p, old}
		return
	}
	r.Tokens = []pair{p}
}

// fresh reports whether the newest token may be used for a while yet, and is not
// the one that the vendor refused.
func (r *record) fresh(now time.Time, refused string) bool {
	p := r.current()
	return p != nil && p.Access != "" && p.Access != refused && (p.ExpiresAt.IsZero() || now.Before(p.ExpiresAt.Add(-p.margin())))
}

// alive reports whether the newest token has not expired.
func (r *record) alive(now time.Time, refused string) bool {
	p := r.current()
	return p != nil && p.Access != "" && p.Access != refused && (p.ExpiresAt.IsZero() || now.Before(p.ExpiresAt))
}

// margin is how long before its end a token is replaced: a tenth of its life, at
// least a minute, at most half of its life. Each pair has its own tenth more, so
// that many connections do not come at once.
func (p *pair) margin() time.Duration {
	life := p.ExpiresAt.Sub(p.IssuedAt)
	margin := max(life/10, time.Minute)
	spread := time.Duration(0)
	if margin > 0 {
		spread = margin / 10 * time.Duration(p.Number%10) / 10
	}
	return min(margin+spread, life/2)
}

// seal returns the record sealed as its own.
func (r *record) seal(with Sealer) ([]byte, error) {
	r.Version = recordVersion
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding the connection %s: %w", r.Name, err)
	}
	defer clear(text)
	return with.Seal(text, r.Name.about())
}

// open reads what seal returned.
func open(with Sealer, name Name, sealed []byte) (*record, error) {
	text, err := with.Open(sealed, name.about())
	if err != nil {
		return nil, fmt.Errorf("opening the connection %s: %w", name, err)
	}
	defer clear(text)
	r := &record{}
	if json.Unmarshal(text, r) != nil || r.Version != recordVersion || r.Name != name { // The error could show a part.
		return nil, fault.New(fault.SealBroken, "the connection %s has another form, of version %d", name, r.Version)
	}
	return r, nil
}

// Connection is a connection without its secrets.
type Connection struct {
	Name  Name   `json:"name"`
	State State  `json:"state"`
	Why   string `json:"why,omitempty"`
	// Kind is oauth, or token for one that somebody made by hand.
	Kind     string `json:"kind"`
	ClientID string `json:"client_id,omitempty"`
	// Versions are the live tokens, the newest first.
	Versions []Version         `json:"versions,omitempty"`
	Scopes   []string          `json:"scopes,omitempty"`
	Account  map[string]string `json:"account,omitempty"`

	CreatedAt   time.Time `json:"created_at"`
	ConsentAt   time.Time `json:"consent_at"`
	RefreshedAt time.Time `json:"refreshed_at,omitzero"`
	UsedAt      time.Time `json:"used_at,omitzero"`
	Failures    int       `json:"failures,omitempty"`
	RetryAt     time.Time `json:"retry_at,omitzero"`
	Problem     string    `json:"problem,omitempty"`
	// Pending is true while a new token is being asked for.
	Pending bool `json:"pending,omitempty"`
	// AtVendor is true when a revoked connection may still be known to the vendor.
	AtVendor bool `json:"at_vendor,omitempty"`
}

// Version is one live version of a token, by its fingerprint.
type Version struct {
	Number      uint64    `json:"number"`
	Fingerprint string    `json:"fingerprint"`
	Refreshes   bool      `json:"refreshes"`
	IssuedAt    time.Time `json:"issued_at"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	Until       time.Time `json:"until,omitzero"`
}

// view returns what may be shown.
func (r *record) view() Connection {
	c := Connection{
		Name: r.Name, State: r.State, Why: r.Why, Kind: "token", Scopes: slices.Clone(r.Scopes), Account: r.Extra,
		CreatedAt: r.CreatedAt, ConsentAt: r.ConsentAt, RefreshedAt: r.RefreshedAt, UsedAt: r.UsedAt,
		Failures: r.Failures, RetryAt: r.RetryAt, Problem: r.Problem,
		Pending: r.Intent != nil, AtVendor: r.State == Revoked && len(r.Tokens) > 0,
	}
	if r.Client != nil {
		c.Kind, c.ClientID = "oauth", r.Client.ID
	}
	for _, p := range r.Tokens {
		c.Versions = append(c.Versions, Version{
			Number: p.Number, Fingerprint: NewSecret(p.Access).Fingerprint(), Refreshes: p.Refresh != "",
			IssuedAt: p.IssuedAt, ExpiresAt: p.ExpiresAt, Until: p.Until,
		})
	}
	return c
}
