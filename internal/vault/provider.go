package vault

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// Provider is what there is to know of a vendor's OAuth server, as data.
type Provider struct {
	Name, Title string
	// Authorize, Token and Revoke are the addresses of the OAuth server. Without
	// them, a person makes the token by hand. {domain} stands for the host that
	// the client names.
	Authorize, Token, Revoke string
	// Domain is the host for {domain} when nobody names one.
	Domain string
	// Basic sends the client's id and secret in a header instead of the body.
	Basic bool
	// PKCE is whether the vendor takes part in it.
	PKCE bool
	// Issuer is what `iss` on the callback must be, when it is there.
	Issuer string
	// Scopes are the least that the product needs, and Setup those that it needs
	// beside them to make its own fields in an account, once.
	Scopes, Setup []string
	// Static is whether a token that a person made by hand serves as well as one of
	// the OAuth server.
	Static bool
	// Inspect is an address that tells whose such a token is, and its scopes. It is
	// asked with the token in the body, as HubSpot's.
	Inspect string
	// Account names the fields of a token answer that say whose account it is and
	// where its API lies. They are no secrets.
	Account []string
	// Busy are beginnings of descriptions of invalid_grant that only mean "later".
	Busy []string
	// Lapse is after how long without use a refresh token ends; 0 means never.
	Lapse time.Duration
	// Probe is an address that tells whether the token is good. {name} stands for
	// a field of Account.
	Probe string
	// Hosts are where the token may be sent; a leading dot means every host below.
	Hosts []string
}

// Providers returns the vendors that we know.
//
//nolint:gosec // Addresses and names of fields; no credentials.
func Providers() []Provider {
	return []Provider{
		{
			Name: "hubspot", Title: "HubSpot",
			Authorize: "https://app.hubspot.com/oauth/authorize",
			Token:     "https://api.hubapi.com/oauth/2026-03/token",
			Revoke:    "https://api.hubapi.com/oauth/2026-03/token/revoke",
			PKCE:      true, Issuer: "https://app.hubspot.com",
			Scopes:  []string{"crm.objects.contacts.read", "crm.objects.contacts.write", "oauth"},
			Setup:   []string{"crm.schemas.contacts.read", "crm.schemas.contacts.write"},
			Static:  true,
			Inspect: "https://api.hubapi.com/oauth/v2/private-apps/get/access-token-info",
			Account: []string{"hub_id", "user_id"},
			Probe:   "https://api.hubapi.com/account-info/v3/details",
			Hosts:   []string{"api.hubapi.com"},
		},
		{
			Name: "salesforce", Title: "Salesforce",
			Authorize: "https://{domain}/services/oauth2/authorize",
			Token:     "https://{domain}/services/oauth2/token",
			Revoke:    "https://{domain}/services/oauth2/revoke",
			Domain:    "login.salesforce.com",
			PKCE:      true, Issuer: "https://{domain}",
			Scopes:  []string{"api", "refresh_token"},
			Account: []string{"instance_url", "id"},
			Busy:    []string{"token request is already being processed", "expired authorization code"},
			Probe:   "https://{domain}/services/oauth2/userinfo",
			Hosts:   []string{"login.salesforce.com", "test.salesforce.com", ".my.salesforce.com"},
		},
		{
			Name: "pipedrive", Title: "Pipedrive",
			Authorize: "https://oauth.pipedrive.com/oauth/authorize",
			Token:     "https://oauth.pipedrive.com/oauth/token",
			Revoke:    "https://oauth.pipedrive.com/oauth/revoke",
			Basic:     true, Issuer: "https://oauth.pipedrive.com",
			Scopes:  []string{"base", "contacts:full", "activities:full"},
			Account: []string{"api_domain"},
			Lapse:   60 * 24 * time.Hour,
			Probe:   "{api_domain}/api/v1/users/me",
			Hosts:   []string{"oauth.pipedrive.com", ".pipedrive.com"},
		},
		{
			Name: "botstar", Title: "BotStar",
			Probe: "https://apis.botstar.com/v1/bots",
			Hosts: []string{"apis.botstar.com", "api2.botstar.com"},
		},
	}
}

// Manual reports whether a person makes all tokens by hand.
func (p Provider) Manual() bool { return p.Token == "" }

// ByHand reports whether a token that a person made by hand is taken.
func (p Provider) ByHand() bool { return p.Manual() || p.Static }

// Allows reports whether a token may be sent to the address.
func (p Provider) Allows(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	return u.Scheme == "https" && u.User == nil && slices.ContainsFunc(p.Hosts, func(allowed string) bool {
		return host == allowed || allowed[0] == '.' && strings.HasSuffix(host, allowed)
	})
}

// hosts are the hosts for people.
func (p Provider) hosts() []string {
	hosts := slices.Clone(p.Hosts)
	for i, host := range hosts {
		if host[0] == '.' {
			hosts[i] = "*" + host
		}
	}
	return hosts
}

// at returns the address with the client's domain and the account's fields in
// it. It is an address of the provider's own hosts, or an error.
func (p Provider) at(address, domain string, account map[string]string) (string, error) {
	if domain == "" {
		domain = p.Domain
	}
	address = strings.ReplaceAll(address, "{domain}", domain)
	for name, value := range account {
		address = strings.ReplaceAll(address, "{"+name+"}", strings.TrimSuffix(value, "/"))
	}
	u, err := url.Parse(address)
	if err != nil || !p.Allows(u) {
		return "", fault.New(fault.EgressDenied, "the address is none of %s", p.Title).
			WithFix("name a host of %s: %s", p.Title, strings.Join(p.hosts(), ", "))
	}
	return address, nil
}

// provider returns the vendor of the name.
func (v *Vault) provider(name string) (Provider, error) {
	var names []string
	for _, p := range v.o.Providers {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Provider{}, fault.New(fault.UnknownConnection, "no provider is called %q", name).WithFix("use one of %s", strings.Join(names, ", "))
}
