package app

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/vault"
)

// connectCmd connects accounts at vendors.
type connectCmd struct {
	HubSpot    connectOAuthCmd `cmd:"" name:"hubspot" help:"Connect a HubSpot account."`
	Salesforce connectOAuthCmd `cmd:"" name:"salesforce" help:"Connect a Salesforce organisation."`
	Pipedrive  connectOAuthCmd `cmd:"" name:"pipedrive" help:"Connect a Pipedrive company."`
	BotStar    connectTokenCmd `cmd:"" name:"botstar" help:"Store a BotStar API token."`
}

// named are the flags that name a connection beside its vendor.
type named struct {
	Tenant      string `placeholder:"NAME" help:"Whose connection it is. Default: main."`
	Environment string `short:"e" placeholder:"NAME" help:"What it is for. Default: production."`
	Site        string `short:"s" placeholder:"SITE" help:"The only site that may use it. Default: every site."`
	Principal   string `placeholder:"NAME" help:"Who gives consent, or what the credentials are for. Default: default."`
}

func (n named) name(provider string) vault.Name {
	return vault.Name{Tenant: n.Tenant, Environment: n.Environment, Provider: provider, Site: n.Site, Principal: n.Principal}
}

// connectOAuthCmd asks a person for consent.
type connectOAuthCmd struct {
	named
	ClientID     string   `name:"client-id" required:"" placeholder:"ID" help:"The client id of your app at the vendor."`
	ClientSecret string   `name:"client-secret" placeholder:"REF" help:"Its secret: file:/path, env:NAME of a variable with the path, or - for standard input."`
	Domain       string   `placeholder:"HOST" help:"Salesforce: the host to log in at, such as test.salesforce.com or yours.my.salesforce.com."`
	Scope        []string `placeholder:"SCOPE" help:"Ask for these scopes instead of the least that Parley needs. Repeat it."`
	Redirect     string   `placeholder:"URL" help:"The callback's address on this machine, exactly as in the vendor's settings of the app. Default: http://127.0.0.1:8976/callback/VENDOR."`
	JSON         bool     `name:"json" help:"Print the connection as JSON."`
}

// Help is the long help.
func (*connectOAuthCmd) Help() string {
	return `It prints an address. Open it in a browser on this machine, and allow what it lists: the vendor sends the browser back to this command, which stores the connection, sealed. A connection of the same name is replaced. Nothing that is secret is printed.`
}

// Run connects.
func (o *connectOAuthCmd) Run(ctx context.Context, c *cli, k *kong.Context) error {
	var secret vault.Secret
	if o.ClientSecret != "" {
		var err error
		if secret, err = c.secret(o.ClientSecret); err != nil {
			return err
		}
	}
	v, done, err := c.vault(ctx)
	if err != nil {
		return err
	}
	defer done()
	consent, err := v.Ask(ctx, vault.Ask{
		Name: o.name(k.Selected().Name), ClientID: o.ClientID, ClientSecret: secret, Domain: o.Domain, Scopes: o.Scope, Redirect: o.Redirect,
	})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(c.Stderr, "You will be asked for: %s\nOpen this in a browser on this machine:\n\n", strings.Join(consent.Scopes(), ", "))
	if _, err := fmt.Fprintf(c.Stderr, "  %s\n\nwaiting for your answer; Ctrl-C ends\n", consent.Address()); err != nil {
		consent.Close(ctx)
		return err
	}
	connection, err := consent.Wait(ctx)
	if err != nil {
		return err
	}
	return c.connected(connection, o.JSON)
}

// connectTokenCmd stores a token that somebody made by hand.
type connectTokenCmd struct {
	named
	Token   string `default:"-" placeholder:"REF" help:"The token: file:/path, env:NAME of a variable with the path, or - for standard input, which is the default. It is never an argument."`
	Expires string `placeholder:"DATE" help:"When the token ends, such as 2027-03-01, if you know. You are warned before."`
	JSON    bool   `name:"json" help:"Print the connection as JSON."`
}

// Help is the long help.
func (*connectTokenCmd) Help() string {
	return `The account's token is at BotStar under Account, Profile, API Token. A bot's own access token, for broadcasts, is another connection: give it --principal, such as --principal bot-shop.`
}

// Run connects.
func (o *connectTokenCmd) Run(ctx context.Context, c *cli, k *kong.Context) error {
	var expires time.Time
	if o.Expires != "" {
		var err error
		if expires, err = time.Parse(time.DateOnly, o.Expires); err != nil {
			return fault.New(fault.SchemaViolation, "--expires is no date").WithFix("write it as 2027-03-01")
		}
	}
	token, err := c.secret(o.Token)
	if err != nil {
		return err
	}
	v, done, err := c.vault(ctx)
	if err != nil {
		return err
	}
	defer done()
	connection, err := v.PutToken(ctx, o.name(k.Selected().Name), token, expires)
	if err != nil {
		return err
	}
	return c.connected(connection, o.JSON)
}

// connected says what was connected.
func (c *cli) connected(connection vault.Connection, asJSON bool) error {
	if asJSON {
		return c.print(connection)
	}
	_, err := fmt.Fprintf(c.Stdout, "%s is %s\nTry it: publisher connections test %s\n", connection.Name, connection.State, connection.Name)
	return err
}

// secret reads a secret from where the reference says: a file, or standard
// input for "-". A secret is never an argument: other users see those.
func (c *cli) secret(ref string) (vault.Secret, error) {
	if ref != "-" {
		s := Secret(ref)
		if !s.legal() {
			return vault.Secret{}, fault.New(fault.BadConfig, "a secret is never an argument").
				WithFix("write file:/path, env:NAME of a variable with the path, or - for standard input; and make a new secret, since this one was shown")
		}
		path, err := s.Path(c.Env)
		if err != nil {
			return vault.Secret{}, err
		}
		return vault.ReadSecret(path)
	}
	if c.Terminal.In {
		_, _ = fmt.Fprintln(c.Stderr, "the secret, and Ctrl-D (it is shown while you type; a pipe is better):")
	}
	text, err := io.ReadAll(io.LimitReader(c.Stdin, 64<<10))
	if err != nil {
		return vault.Secret{}, fault.New(fault.BadConfig, "reading standard input").Because(err)
	}
	secret := vault.NewSecret(strings.TrimSpace(string(text)))
	if secret.IsZero() {
		return vault.Secret{}, fault.New(fault.BadConfig, "standard input is empty").WithFix("pipe the secret in: publisher connect botstar < token.txt")
	}
	return secret, nil
}

// like reads a part of a connection's name, or all of it.
func (n named) like(text string) (vault.Name, error) {
	if strings.Contains(text, "/") {
		return vault.ParseName(text)
	}
	if text != "" && !event.IsToken(text) {
		return vault.Name{}, fault.New(fault.UnknownConnection, "%q is no name of a connection", text).
			WithFix("`publisher connections list` shows the names")
	}
	return n.name(text), nil
}
