package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/vault"
)

// consent are the flags of a vendor whose OAuth server asks a person.
type consent struct {
	named
	ClientID     string   `name:"client-id" placeholder:"ID" help:"The client id of your app at the vendor."`
	ClientSecret string   `name:"client-secret" placeholder:"REF" help:"Its secret: file:/path, env:NAME of a variable with the path, or - for standard input."`
	Scope        []string `placeholder:"SCOPE" help:"Ask for these scopes instead of the least that Parley needs. Repeat it."`
	Redirect     string   `placeholder:"URL" help:"The callback's address on this machine, exactly as in the vendor's settings of the app. Default: http://127.0.0.1:8976/callback/VENDOR."`
	JSON         bool     `name:"json" help:"Print the connection as JSON."`
}

// consentHelp is the end of the long help of vendors with consent.
const consentHelp = ` The command prints an address. Open it in a browser on this machine, and allow what it lists: the vendor sends the browser back to this command, which stores the connection, sealed. A connection of the same name is replaced. Nothing that is secret is printed.`

// ask asks a person for consent.
func (o *consent) ask(ctx context.Context, c *cli, provider, domain string, scopes []string) error {
	if o.ClientID == "" {
		return fault.New(fault.SchemaViolation, "the client id of your app at %s is missing", provider).
			WithFix("register an app there, and give its --client-id and --client-secret: `publisher connect %s --help` says how", provider)
	}
	secret, err := c.secretOrNone(o.ClientSecret)
	if err != nil {
		return err
	}
	v, done, err := c.vault(ctx)
	if err != nil {
		return err
	}
	defer done()
	request, err := v.Ask(ctx, vault.Ask{
		Name: o.name(provider), ClientID: o.ClientID, ClientSecret: secret, Domain: domain, Scopes: scopes, Redirect: o.Redirect,
	})
	if err != nil {
		return err
	}
	if err := c.invite(request); err != nil {
		request.Close(ctx)
		return err
	}
	connection, err := request.Wait(ctx)
	if err != nil {
		return err
	}
	return c.connected(connection, o.JSON)
}

// invite tells the person what to do.
func (c *cli) invite(request *vault.Consent) error {
	_, _ = fmt.Fprintf(c.Stderr, "You will be asked for: %s\n", strings.Join(request.Scopes(), ", "))
	_, _ = fmt.Fprintf(c.Stderr, "The callback, which the settings of your app must have exactly: %s\n", request.Redirect())
	_, err := fmt.Fprintf(c.Stderr, "Open this in a browser on this machine:\n\n  %s\n\nwaiting for your answer; Ctrl-C ends\n", request.Address())
	return err
}

// secretOrNone reads a secret, unless none is named.
func (c *cli) secretOrNone(ref string) (vault.Secret, error) {
	if ref == "" {
		return vault.Secret{}, nil
	}
	return c.secret(ref)
}

// connectHubSpotCmd connects by consent, or by a token.
type connectHubSpotCmd struct {
	consent
	Setup   bool   `help:"Ask for the scopes, too, that publisher crm setup needs to make Parley's properties."`
	Token   string `placeholder:"REF" help:"Without consent: the access token of a private app, or a service key, as file:/path, env:NAME of a variable with the path, or - for standard input."`
	Expires string `placeholder:"DATE" help:"When the token ends, such as 2027-03-01, if you know. You are warned before."`
}

// Help is the long help.
func (*connectHubSpotCmd) Help() string {
	return `With an app of your own: register it at HubSpot with the callback http://127.0.0.1:8976/callback/hubspot and the scopes crm.objects.contacts.read, crm.objects.contacts.write and oauth, and give its client id and secret.` + consentHelp + `

For your own account only: make a service key or a private app in HubSpot with the same scopes but oauth, and give its token: publisher connect hubspot --token - < token.txt

publisher crm setup makes Parley's own properties, once. That needs crm.schemas.contacts.read and crm.schemas.contacts.write, too: --setup asks for them, or tick them for the token.`
}

// Run connects.
func (o *connectHubSpotCmd) Run(ctx context.Context, c *cli) error {
	if o.Token == "" {
		return o.ask(ctx, c, providerHubSpot, "", o.scopes())
	}
	if o.ClientID+o.ClientSecret+o.Redirect != "" || len(o.Scope) > 0 || o.Setup {
		return fault.New(fault.SchemaViolation, "a token was made with its scopes at HubSpot, so nobody is asked").
			WithFix("give --token alone, or leave it out and ask for consent")
	}
	return o.store(ctx, c, providerHubSpot, o.Token, o.Expires, o.JSON)
}

// providerHubSpot is HubSpot's name among the vendors.
const providerHubSpot = "hubspot"

// scopes are those to ask for; nil means the least.
func (o *connectHubSpotCmd) scopes() []string {
	if !o.Setup {
		return o.Scope
	}
	scopes := o.Scope
	for _, p := range vault.Providers() {
		if p.Name == providerHubSpot && scopes == nil {
			scopes = p.Scopes
		}
		if p.Name == providerHubSpot {
			scopes = append(scopes, p.Setup...)
		}
	}
	return scopes
}

// connectSalesforceCmd connects by consent.
type connectSalesforceCmd struct {
	consent
	Domain string `placeholder:"HOST" help:"The host to log in at, such as test.salesforce.com or yours.my.salesforce.com. Default: login.salesforce.com."`
}

// Help is the long help.
func (*connectSalesforceCmd) Help() string {
	return `Make a connected app in Salesforce with OAuth, the callback http://127.0.0.1:8976/callback/salesforce and the scopes api and refresh_token, and give its consumer key as --client-id and its secret.` + consentHelp
}

// Run connects.
func (o *connectSalesforceCmd) Run(ctx context.Context, c *cli) error {
	return o.ask(ctx, c, "salesforce", o.Domain, o.Scope)
}

// connectPipedriveCmd connects by consent.
type connectPipedriveCmd struct{ consent }

// Help is the long help.
func (*connectPipedriveCmd) Help() string {
	return `Make an app in Pipedrive's Developer Hub with the callback http://127.0.0.1:8976/callback/pipedrive and the scopes base, contacts:full and activities:full, and give its client id and secret.` + consentHelp
}

// Run connects.
func (o *connectPipedriveCmd) Run(ctx context.Context, c *cli) error {
	return o.ask(ctx, c, "pipedrive", "", o.Scope)
}

// connectBotStarCmd stores a token that somebody made by hand.
type connectBotStarCmd struct {
	named
	Token   string `default:"-" placeholder:"REF" help:"The token: file:/path, env:NAME of a variable with the path, or - for standard input, which is the default. It is never an argument."`
	Expires string `placeholder:"DATE" help:"When the token ends, such as 2027-03-01, if you know. You are warned before."`
	JSON    bool   `name:"json" help:"Print the connection as JSON."`
}

// Help is the long help.
func (*connectBotStarCmd) Help() string {
	return `The account's token is at BotStar under Account, Profile, API Token: publisher connect botstar < token.txt

A bot's own access token, for broadcasts, is in the bot's Settings. It is another connection: give it --principal bot.`
}

// Run connects.
func (o *connectBotStarCmd) Run(ctx context.Context, c *cli) error {
	return o.store(ctx, c, "botstar", o.Token, o.Expires, o.JSON)
}

// store stores a token that somebody made by hand, and asks the vendor whose it
// is, where it tells.
func (n named) store(ctx context.Context, c *cli, provider, ref, expires string, asJSON bool) error {
	ends, err := parseDay(expires)
	if err != nil {
		return err
	}
	token, err := c.secret(ref)
	if err != nil {
		return err
	}
	v, done, err := c.vault(ctx)
	if err != nil {
		return err
	}
	defer done()
	connection, err := v.PutToken(ctx, n.name(provider), token, ends)
	if err != nil {
		return err
	}
	known, err := v.Inspect(ctx, connection.Name)
	if err != nil {
		_, _ = fmt.Fprintf(c.Stderr, "note: it is stored, and the vendor did not say whose it is: %v\n", err)
		known = connection
	}
	return c.connected(known, asJSON)
}

// parseDay reads a day; "" is none.
func parseDay(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return time.Time{}, fault.New(fault.SchemaViolation, "--expires is no date").WithFix("write it as 2027-03-01")
	}
	return day, nil
}
