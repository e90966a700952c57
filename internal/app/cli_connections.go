package app

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/vault"
)

// connectionsCmd looks after connections.
type connectionsCmd struct {
	List   connectionsListCmd   `cmd:"" help:"List the connections."`
	Show   connectionsShowCmd   `cmd:"" help:"Show one."`
	Test   connectionsTestCmd   `cmd:"" help:"Ask the vendor whether it works."`
	Rotate connectionsRotateCmd `cmd:"" help:"Give it a new token, or its OAuth client a new secret."`
	Revoke connectionsRevokeCmd `cmd:"" help:"End it, here and at the vendor."`
	Reseal connectionsResealCmd `cmd:"" help:"Seal all of them with the master key's present key."`
	Keys   connectionsKeysCmd   `cmd:"" help:"Make and rotate the master key."`
}

// one names a connection.
type one struct {
	Name string `arg:"" optional:"" help:"The connection: its vendor when there is only one, or the whole name that list shows."`
	named
}

// find opens the vault and finds the connection.
func (o one) find(ctx context.Context, c *cli) (*vault.Vault, vault.Connection, func(), error) {
	like, err := o.like(o.Name)
	if err != nil {
		return nil, vault.Connection{}, nil, err
	}
	v, done, err := c.vault(ctx)
	if err != nil {
		return nil, vault.Connection{}, nil, err
	}
	found, err := v.Find(ctx, like)
	if err != nil {
		done()
		return nil, vault.Connection{}, nil, err
	}
	return v, found, done, nil
}

// connectionsListCmd lists.
type connectionsListCmd struct {
	one
	JSON bool `name:"json" help:"Print JSON, one connection per line."`
}

// Run lists.
func (l *connectionsListCmd) Run(ctx context.Context, c *cli) error {
	like, err := l.like(l.Name)
	if err != nil {
		return err
	}
	v, done, err := c.vault(ctx)
	if err != nil {
		return err
	}
	defer done()
	all, err := v.List(ctx, like)
	if err != nil {
		return err
	}
	if l.JSON {
		for _, connection := range all {
			if err := writeJSON(c.Stdout, connection, ""); err != nil {
				return err
			}
		}
		return nil
	}
	_, err = fmt.Fprint(c.Stdout, connectionsTable(all, time.Now()))
	return err
}

func connectionsTable(all []vault.Connection, now time.Time) string {
	if len(all) == 0 {
		return "no connections; `publisher connect` makes one\n"
	}
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "CONNECTION\tSTATE\tTOKEN ENDS\tREFRESHED\tUSED\tWHY")
	for _, c := range all {
		ends := "-"
		if len(c.Versions) > 0 && !c.Versions[0].ExpiresAt.IsZero() {
			ends = "in " + c.Versions[0].ExpiresAt.Sub(now).Round(time.Second).String()
			if c.Versions[0].ExpiresAt.Before(now) {
				ends = "ended"
			}
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, c.State, ends, agoOrDash(c.RefreshedAt, now), agoOrDash(c.UsedAt, now), orDash(printable(c.Why)))
	}
	_ = table.Flush() // A strings.Builder takes all.
	return b.String()
}

func agoOrDash(at, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return ago(at, now)
}

// connectionsShowCmd shows one.
type connectionsShowCmd struct {
	one
	JSON bool `name:"json" help:"Print JSON."`
}

// Run shows.
func (s *connectionsShowCmd) Run(ctx context.Context, c *cli) error {
	_, found, done, err := s.find(ctx, c)
	if err != nil {
		return err
	}
	defer done()
	if s.JSON {
		return c.print(found)
	}
	_, err = fmt.Fprint(c.Stdout, connectionText(found))
	return err
}

func connectionText(found vault.Connection) string {
	var b strings.Builder
	line := func(what, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-12s %s\n", what, printable(text))
		}
	}
	moment := func(what string, at time.Time) {
		if !at.IsZero() {
			line(what, at.Local().Format(time.DateTime))
		}
	}
	line("connection", found.Name.String())
	line("state", string(found.State))
	line("why", found.Why)
	line("kind", found.Kind)
	line("client id", found.ClientID)
	line("scopes", strings.Join(found.Scopes, " "))
	for _, name := range slices.Sorted(maps.Keys(found.Account)) {
		line(name, found.Account[name])
	}
	for _, version := range found.Versions {
		text := fmt.Sprintf("number %d, fingerprint %s, since %s", version.Number, version.Fingerprint, version.IssuedAt.Local().Format(time.DateTime))
		if !version.ExpiresAt.IsZero() {
			text += ", ends " + version.ExpiresAt.Local().Format(time.DateTime)
		}
		if !version.Until.IsZero() {
			text += ", kept until " + version.Until.Local().Format(time.DateTime)
		}
		line("token", text)
	}
	moment("consent", found.ConsentAt)
	moment("refreshed", found.RefreshedAt)
	moment("used", found.UsedAt)
	if found.Failures > 0 {
		line("failures", fmt.Sprintf("%d in a row: %s", found.Failures, found.Problem))
		moment("tries again", found.RetryAt)
	}
	if found.AtVendor {
		line("note", "the vendor may know it yet: revoke tries again")
	}
	return b.String()
}

// connectionsTestCmd asks the vendor.
type connectionsTestCmd struct {
	one
	JSON bool `name:"json" help:"Print JSON."`
}

// Run asks.
func (t *connectionsTestCmd) Run(ctx context.Context, c *cli) error {
	v, found, done, err := t.find(ctx, c)
	if err != nil {
		return err
	}
	defer done()
	health, err := v.Probe(ctx, found.Name)
	if t.JSON {
		if err := c.print(health); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	if !health.OK {
		return fault.New(fault.ReauthNeeded, "%s; missing: %s", health.Detail, strings.Join(health.Missing, ", ")).
			WithFix("allow them in the settings of the app, or of the token, at the vendor, and connect again")
	}
	if t.JSON {
		return nil
	}
	if len(health.NoSetup) > 0 {
		_, _ = fmt.Fprintf(c.Stderr, "note: `publisher crm setup` cannot make Parley's fields with it, and would need %s; once they are there, nothing is missing\n", strings.Join(health.NoSetup, ", "))
	}
	_, err = fmt.Fprintf(c.Stdout, "%s works: the vendor answered %d in %s\n", found.Name, health.Status, health.Took.Round(time.Millisecond)+time.Millisecond)
	return err
}

// connectionsRotateCmd gives new credentials.
type connectionsRotateCmd struct {
	one
	Token        string        `placeholder:"REF" help:"The new token, of a vendor whose tokens are made by hand: file:/path, env:NAME, or - for standard input."`
	ClientSecret string        `name:"client-secret" placeholder:"REF" help:"The OAuth client's new secret, given as --token is. The one before stays good, so the order of the change here and at the vendor does not matter."`
	Overlap      time.Duration `default:"24h" help:"How long the token before stays good beside the new one."`
	JSON         bool          `name:"json" help:"Print the connection as JSON."`
}

// Help is the long help.
func (*connectionsRotateCmd) Help() string {
	return `Without --token and --client-secret, the vendor's OAuth server is asked for a new token, though the present one is good.`
}

// Run rotates.
func (r *connectionsRotateCmd) Run(ctx context.Context, c *cli) error {
	if r.Token != "" && r.ClientSecret != "" {
		return fault.New(fault.SchemaViolation, "a connection has a token made by hand or a client secret, not both")
	}
	var secret vault.Secret
	var err error
	if ref := r.Token + r.ClientSecret; ref != "" {
		if secret, err = c.secret(ref); err != nil {
			return err
		}
	}
	v, found, done, err := r.find(ctx, c)
	if err != nil {
		return err
	}
	defer done()
	switch {
	case r.Token != "":
		found, err = v.RotateToken(ctx, found.Name, secret, r.Overlap)
	case r.ClientSecret != "":
		found, err = v.RotateSecret(ctx, found.Name, secret)
	default:
		found, err = v.Rotate(ctx, found.Name)
	}
	if err != nil {
		return err
	}
	if r.JSON {
		return c.print(found)
	}
	_, err = fmt.Fprintln(c.Stdout, r.told(found))
	return err
}

// told says what has changed.
func (r *connectionsRotateCmd) told(now vault.Connection) string {
	switch {
	case r.ClientSecret != "":
		return fmt.Sprintf("%s has a new client secret; the one before stays good, too", now.Name)
	case len(now.Versions) == 0:
		return fmt.Sprintf("%s is %s", now.Name, now.State)
	}
	newest := now.Versions[0]
	text := fmt.Sprintf("%s has a new token: number %d, fingerprint %s", now.Name, newest.Number, newest.Fingerprint)
	if len(now.Versions) > 1 && !now.Versions[1].Until.IsZero() {
		text += "; the one before stays good until " + now.Versions[1].Until.Local().Format(time.DateTime)
	}
	return text
}

// connectionsRevokeCmd ends one.
type connectionsRevokeCmd struct {
	one
	Why  string `default:"by hand" help:"Why, for the record."`
	JSON bool   `name:"json" help:"Print the connection as JSON."`
}

// Help is the long help.
func (*connectionsRevokeCmd) Help() string {
	return `Calls that use it are cancelled on every worker within five seconds. A token that was made by hand is good at the vendor until you end it there, too.`
}

// Run revokes.
func (r *connectionsRevokeCmd) Run(ctx context.Context, c *cli) error {
	v, found, done, err := r.find(ctx, c)
	if err != nil {
		return err
	}
	defer done()
	byHand := found.Kind == "token"
	if found, err = v.Revoke(ctx, found.Name, r.Why); err != nil {
		if found.AtVendor {
			err = fault.From(err).WithFix("nothing uses it any more; workers try again by themselves until the vendor knows, and so does this command")
		}
		return err
	}
	if byHand {
		_, _ = fmt.Fprintln(c.Stderr, "note: the token was made by hand, so the vendor cannot be told: end it there, too")
	}
	if r.JSON {
		return c.print(found)
	}
	_, err = fmt.Fprintf(c.Stdout, "%s is %s\n", found.Name, found.State)
	return err
}
