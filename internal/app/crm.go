package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/hubspot"
	"github.com/parley-chat/parley/internal/crm/pipedrive"
	"github.com/parley-chat/parley/internal/crm/salesforce"
	"github.com/parley-chat/parley/internal/crm/sql"
	"github.com/parley-chat/parley/internal/crm/webhook"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/telemetry"
	"github.com/parley-chat/parley/internal/vault"
)

// targets are the CRMs of a process.
type targets struct {
	list    []*crm.Target
	closers []io.Closer
}

// way leads the connectors of vendors to stand-ins. Its zero value leads to the
// vendors, with the tokens of connections.
type way struct {
	resolve map[string]string
	roots   *x509.CertPool
	tokens  crm.Tokens
	// update makes the command of an update; nil brings nothing back.
	update func(site string, attributes map[string]any) (crm.Update, error)
}

// openTargets makes the targets of the configuration, or the named one only.
// Nothing is brought anywhere yet. Close them.
func openTargets(ctx context.Context, log *slog.Logger, cfg *Config, env Env, b *bus.Bus, v *vault.Vault, w way, only string) (_ *targets, err error) {
	t := &targets{}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	for _, name := range slices.Sorted(maps.Keys(cfg.CRM.Targets)) {
		if only != "" && name != only {
			continue
		}
		of := cfg.CRM.Targets[name]
		connector, err := t.connector(ctx, cfg, env, name, b, v, w)
		if err != nil {
			return nil, fmt.Errorf("opening crm.targets.%s: %w", name, err)
		}
		target, err := crm.New(log, b, crm.Options{
			Name: name, Connector: connector, Mapping: of.mapping(), Sites: of.Sites, Anonymous: of.Visitors == "all",
			Consent: of.Consent, Window: of.window(), Since: of.Since, Parallel: of.Parallel,
			Return: crm.Return{Every: of.every(), Command: w.update},
		})
		if err != nil {
			return nil, fmt.Errorf("making crm.targets.%s: %w", name, err)
		}
		t.list = append(t.list, target)
	}
	return t, nil
}

// database returns where a file of SQLite is. The built-in configuration has no
// place of its own: its file is beside the embedded server's.
func (c *Config) database(path string) string {
	if c.rules != nil && !filepath.IsAbs(path) {
		return filepath.Join(filepath.Dir(c.Path(c.Bus.Dir)), filepath.Base(path))
	}
	return c.Path(path)
}

// connector makes the connector of one target.
func (t *targets) connector(ctx context.Context, cfg *Config, env Env, name string, b *bus.Bus, v *vault.Vault, w way) (crm.Connector, error) {
	of := cfg.CRM.Targets[name]
	switch of.Type {
	case "sqlite":
		path := cfg.database(of.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fault.New(fault.BadConfig, "making the directory of %s", path).Because(err)
		}
		c, err := sql.OpenSQLite(ctx, path)
		if err == nil {
			t.closers = append(t.closers, c)
		}
		return c, err
	case "postgres":
		address, err := readSecret(of.Address, env)
		if err != nil {
			return nil, err
		}
		c, err := sql.OpenPostgres(address)
		if err == nil {
			t.closers = append(t.closers, c)
		}
		return c, err
	case "webhook":
		secrets, err := readSecrets(of.Secrets, env)
		if err != nil {
			return nil, err
		}
		o := webhook.Options{URL: of.URL, Batch: of.Batch, Method: of.Settings["method"], Client: webhookClient(of.Private, w.roots)}
		for _, secret := range secrets {
			o.Secrets = append(o.Secrets, string(secret))
		}
		return webhook.New(o), nil
	}
	if w.tokens == nil {
		var err error
		if w.tokens, err = tokensOf(v, of); err != nil {
			return nil, err
		}
	}
	carrier := w.transport(nil)
	t.closers = append(t.closers, idle{carrier})
	var ids pipedrive.IDs
	if of.Type == "pipedrive" {
		var err error
		if ids, err = openCRMIDs(ctx, b, name); err != nil {
			return nil, err
		}
	}
	return vendorConnector(of, w.tokens, carrier, ids)
}

// vendorConnector makes the connector to a vendor's API. ids are for a vendor
// without an upsert.
func vendorConnector(of TargetConfig, tokens crm.Tokens, carrier *http.Transport, ids pipedrive.IDs) (crm.Connector, error) {
	switch of.Type {
	case "hubspot":
		o, err := hubspot.Settings(of.Settings)
		if err != nil {
			return nil, err //nolint:wrapcheck // It names the setting.
		}
		o.Base, o.Transport = strings.TrimSuffix(of.URL, "/"), carrier
		return hubspot.New(tokens, o), nil
	case "salesforce":
		o, err := salesforce.Settings(of.Settings)
		if err != nil {
			return nil, err //nolint:wrapcheck // It names the setting.
		}
		o.Base, o.Transport = strings.TrimSuffix(of.URL, "/"), carrier
		return salesforce.New(tokens, o), nil
	case "pipedrive":
		o, err := pipedrive.Settings(of.Settings)
		if err != nil {
			return nil, err //nolint:wrapcheck // It names the setting.
		}
		o.Base, o.Transport, o.IDs = strings.TrimSuffix(of.URL, "/"), carrier, ids
		return pipedrive.New(tokens, o), nil
	}
	return nil, fault.New(fault.BadConfig, "there is no connector of type %q", of.Type)
}

// tokensOf returns the tokens of the target's connection.
func tokensOf(v *vault.Vault, of TargetConfig) (crm.Tokens, error) {
	if v == nil {
		return nil, fault.New(fault.BadConfig, "a target of type %s needs the vault", of.Type).WithFix("set vault.key in parley.yaml; see connections.md")
	}
	name := vault.Name{Provider: of.Type}
	if of.Connection != "" {
		var err error
		if name, err = vault.ParseName(of.Connection); err != nil {
			return nil, err //nolint:wrapcheck // It says all.
		}
	}
	return vaultTokens{v.Source(name)}, nil
}

// vaultTokens are tokens of the vault as connectors know them.
type vaultTokens struct{ source *vault.Source }

// Do lends a token to the function.
func (t vaultTokens) Do(ctx context.Context, call func(context.Context, crm.Token) error) error {
	return t.source.Do(ctx, func(ctx context.Context, token vault.Token) error { return call(ctx, vaultToken{token}) }) //nolint:wrapcheck // It says all.
}

// vaultToken is one of them.
type vaultToken struct{ vault.Token }

// Reveal returns the token.
func (t vaultToken) Reveal() string { return t.Secret.Reveal() }

// Account returns what is known of the account.
func (t vaultToken) Account(name string) string { return t.Token.Account[name] }

// idle closes the connections that wait for another request.
type idle struct{ carrier *http.Transport }

// Close closes them.
func (i idle) Close() error {
	i.carrier.CloseIdleConnections()
	return nil
}

// transport carries requests to vendors. allowed, if set, decides which addresses
// may be reached.
func (w way) transport(allowed func(netip.Addr) bool) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	if allowed != nil {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil || !allowed(at.Addr()) {
				return fault.New(fault.EgressDenied, "a CRM may not be reached at %s", address)
			}
			return nil
		}
	}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if host, _, err := net.SplitHostPort(address); err == nil && w.resolve[host] != "" {
				address = w.resolve[host]
			}
			return dialer.DialContext(ctx, network, address)
		},
		TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{RootCAs: w.roots, MinVersion: tls.VersionTLS12},
		IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 8, MaxResponseHeaderBytes: 64 << 10,
	}
}

// webhookClient carries webhooks: to public addresses, unless the operator
// allows others, and never to where a redirect leads.
func webhookClient(private bool, roots *x509.CertPool) *http.Client {
	return &http.Client{
		Transport:     way{roots: roots}.transport(func(a netip.Addr) bool { return private || browser.Public(a) }),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// run serves the targets until ctx ends.
func (t *targets) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, target := range t.list {
		group.Go(func() error { return target.Run(ctx) })
	}
	return group.Wait() //nolint:wrapcheck // It names the target.
}

// close closes the connections to databases.
func (t *targets) close() error {
	var errs []error
	for _, c := range t.closers {
		errs = append(errs, c.Close())
	}
	t.closers = nil
	return errors.Join(errs...)
}

// figures are those of the targets. Only the leader's rise.
func (t *targets) figures() []telemetry.Figure {
	var all []telemetry.Figure
	for _, target := range t.list {
		now := target.Figures
		for _, f := range []telemetry.Figure{
			gauge("parley_crm_leading", "1 where the target is served, 0 where a worker waits to take over.", func() int {
				if now().Leads {
					return 1
				}
				return 0
			}),
			counter("parley_crm_inputs_total", "Messages of the log that the target has read.", func() uint64 { return now().Folded }),
			counter("parley_crm_calls_total", "Calls to the CRM.", func() uint64 { return now().Calls }),
			counter("parley_crm_calls_failed_total", "Calls to the CRM that failed as a whole.", func() uint64 { return now().Failed }),
			counter("parley_crm_written_total", "Contacts and chat sessions that the CRM took.", func() uint64 { return now().Written }),
			counter("parley_crm_retries_total", "Items that are to be tried again.", func() uint64 { return now().Retried }),
			counter("parley_crm_rejected_total", "Items that the CRM rejected: dead letters.", func() uint64 { return now().Rejected }),
			counter("parley_crm_coalesced_total", "Changes that went along with another one.", func() uint64 { return now().Coalesced }),
			counter("parley_crm_duplicates_avoided_total", "Writes that were not needed, or that the CRM had newer.", func() uint64 { return now().Saved + now().Stale }),
			counter("parley_crm_saves_refused_total", "Saves that another leader prevented.", func() uint64 { return now().Refused }),
			counter("parley_crm_changes_total", "Contacts that the CRM told as changed.", func() uint64 { return now().Changes }),
			counter("parley_crm_updates_total", "Updates of visitors that came back from the CRM.", func() uint64 { return now().Updates }),
			counter("parley_crm_echoes_total", "Contacts that changed in the CRM, and in nothing that others wrote.", func() uint64 { return now().Echoes }),
			gauge("parley_crm_daily_budget", "The vendor's budget of the day, in calls, or in tokens of Pipedrive; 0 when it is not told.", func() int { return now().Health.DailyOf }),
			gauge("parley_crm_daily_budget_left", "What is left of it.", func() int { return now().Health.Daily }),
			gauge("parley_crm_waiting", "Visitors whom the CRM does not have as they are.", func() int64 { return now().Waiting }),
			gauge("parley_crm_stopped", "1 while the CRM is left alone, because it failed too often or a person must act.", func() int {
				if now().Health.Open {
					return 1
				}
				return 0
			}),
			{Name: "parley_crm_lag_seconds", Help: "How old the last change was when the CRM had it.", Read: func() float64 { return now().Behind.Seconds() }},
		} {
			all = append(all, labelled(f, "target", target.Name()))
		}
	}
	return all
}
