package app

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/standin/hubspot"
	"github.com/parley-chat/parley/internal/standin/pipedrive"
	"github.com/parley-chat/parley/internal/standin/salesforce"
)

// devAccounts are stand-ins of CRMs, for `worker dev`: no target of the
// configuration reaches its vendor.
type devAccounts struct {
	cfg        *Config
	hubspot    *hubspot.Standin
	salesforce *salesforce.Org
	pipedrive  *pipedrive.Account
}

// newAccounts makes an account of each vendor that the targets name, and leads
// the targets to the vendors' own addresses, where the stand-ins are.
func newAccounts(cfg *Config) *devAccounts {
	a := &devAccounts{cfg: cfg}
	for name, of := range cfg.CRM.Targets {
		switch of.Type {
		case "hubspot":
			a.hubspot = hubspot.New(hubspot.Options{})
		case "salesforce":
			if a.salesforce == nil {
				a.salesforce = salesforce.New(salesforce.Options{Valid: devValid})
			}
			prepareOrg(a.salesforce, of.Settings)
		case "pipedrive":
			a.pipedrive = pipedrive.New(pipedrive.Options{Valid: devValid})
		default:
			continue
		}
		of.URL = ""
		cfg.CRM.Targets[name] = of
	}
	return a
}

// hosts returns the handler of each host name.
func (a *devAccounts) hosts() map[string]http.Handler {
	hosts := map[string]http.Handler{}
	if a.hubspot != nil {
		maps.Copy(hosts, a.hubspot.Hosts(nil))
	}
	if a.salesforce != nil {
		hosts[devOrg] = a.salesforce
	}
	if a.pipedrive != nil {
		hosts[devCompany] = a.pipedrive
	}
	return hosts
}

// tokens returns what the stand-ins take, or nil when there are none.
func (a *devAccounts) tokens() crm.Tokens {
	if a.hubspot == nil && a.salesforce == nil && a.pipedrive == nil {
		return nil
	}
	return devTokens{}
}

// prepare makes what the targets need in the accounts, as `publisher crm setup`
// does in real ones.
func (a *devAccounts) prepare(ctx context.Context, resolve map[string]string, roots *x509.CertPool) error {
	for name, of := range a.cfg.CRM.Targets {
		if !slices.Contains([]string{"hubspot", "salesforce", "pipedrive"}, of.Type) {
			continue
		}
		carrier := way{resolve: resolve, roots: roots}.transport(nil)
		defer carrier.CloseIdleConnections()
		connector, err := vendorConnector(of, devTokens{}, carrier, nil)
		if err != nil {
			return err
		}
		if p, able := connector.(crm.Preparer); able {
			if _, err := p.Prepare(ctx, false); err != nil {
				return fmt.Errorf("preparing the stand-in of crm.targets.%s: %w", name, err)
			}
		}
	}
	return nil
}

// devTokens are the tokens of the stand-ins: `worker dev` uses no real one.
type devTokens struct{}

// Do lends one.
func (devTokens) Do(ctx context.Context, call func(context.Context, crm.Token) error) error {
	return call(ctx, devToken{})
}

// devToken is one of them.
type devToken struct{}

// Authorize puts it into the header.
func (t devToken) Authorize(h http.Header) { h.Set("Authorization", "Bearer "+t.Reveal()) }

// Reveal returns it.
func (devToken) Reveal() string { return "standin" }

// Account says where the stand-ins are.
func (devToken) Account(name string) string {
	switch name {
	case "instance_url":
		return "https://demo.my.salesforce.com"
	case "api_domain":
		return "https://demo.pipedrive.com"
	}
	return ""
}
