package app

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/vault"
)

// connectCmd connects accounts at vendors.
type connectCmd struct {
	HubSpot    connectHubSpotCmd    `cmd:"" name:"hubspot" help:"Connect a HubSpot account."`
	Salesforce connectSalesforceCmd `cmd:"" name:"salesforce" help:"Connect a Salesforce organisation."`
	Pipedrive  connectPipedriveCmd  `cmd:"" name:"pipedrive" help:"Connect a Pipedrive company."`
	BotStar    connectBotStarCmd    `cmd:"" name:"botstar" help:"Store a BotStar API token."`
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

// connected says what was connected.
func (c *cli) connected(connection vault.Connection, asJSON bool) error {
	if asJSON {
		return c.print(connection)
	}
	var account strings.Builder
	for _, name := range slices.Sorted(maps.Keys(connection.Account)) {
		_, _ = fmt.Fprintf(&account, ", %s %s", name, printable(connection.Account[name]))
	}
	_, err := fmt.Fprintf(c.Stdout, "%s is %s%s\nTry it: publisher connections test %s\n",
		connection.Name, connection.State, account.String(), connection.Name)
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
		return vault.Secret{}, fault.New(fault.BadConfig, "standard input is empty").WithFix("pipe it in, such as `publisher connect botstar < token.txt`, or name a file with file:/path")
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
