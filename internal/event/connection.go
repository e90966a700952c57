package event

import "time"

// ProviderVault stands where a fact's provider does, in facts about connections
// to vendors.
const ProviderVault = "vault"

// The names of the facts about connections.
const (
	FactConnectionActive   = "connection.active"
	FactConnectionDegraded = "connection.degraded"
	FactConnectionReauth   = "connection.reauth_needed"
	FactConnectionRevoked  = "connection.revoked"
	FactConnectionExpiring = "connection.expiring"
)

// ConnectionFacts returns the names of the facts about connections, each of
// which carries a ConnectionChanged.
func ConnectionFacts() []string {
	return []string{
		FactConnectionActive, FactConnectionDegraded, FactConnectionExpiring, FactConnectionReauth, FactConnectionRevoked,
	}
}

// ConnectionChanged says how a connection to a vendor is now. It carries no
// secret.
type ConnectionChanged struct {
	// Tenant, Environment, Provider, Site and Principal name the connection. Site
	// is "-" when the connection serves every site.
	Tenant      string `json:"tenant"`
	Environment string `json:"environment"`
	Provider    string `json:"provider"`
	Site        string `json:"site"`
	Principal   string `json:"principal"`
	// State is active, degraded, reauth_needed or revoked.
	State string `json:"state"`
	// Why explains a state other than active, for a person.
	Why string `json:"why,omitempty"`
	// Generation counts the tokens that the connection has had.
	Generation uint64    `json:"generation"`
	At         time.Time `json:"at"`
	// ExpiresAt is when the credentials lapse, where that is known.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// ConnectionSubject returns the subject of a fact about a connection that serves
// the site, or "-".
func ConnectionSubject(fact, site string) string {
	return FactSubject(ProviderVault, fact, orDash(site), "-")
}
