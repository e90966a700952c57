package app

import (
	"context"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/vault"
)

// botPrincipal is the principal of a connection that holds a bot's own token.
const botPrincipal = "bot"

// connectedTokens are the tokens that the configuration names, and where it
// names none those of connections: the site's own before one that serves all
// sites.
type connectedTokens struct {
	*fileTokens
	vault *vault.Vault
}

// siteTokens returns the tokens of the sites. Without a vault they are those of
// the configuration.
func siteTokens(files *fileTokens, v *vault.Vault) actions.TokenSource {
	if v == nil {
		return files
	}
	return &connectedTokens{files, v}
}

// sources returns the connections that may hold the token, the first one first.
func (c *connectedTokens) sources(site string, kind actions.TokenKind) []*vault.Source {
	name := vault.Name{Provider: c.cfg.Sites[site].Provider, Site: site}
	if kind == actions.BotToken {
		name.Principal = botPrincipal
	}
	all := name
	all.Site = vault.AnySite
	return []*vault.Source{c.vault.Source(name), c.vault.Source(all)}
}

// Token implements actions.TokenSource.
func (c *connectedTokens) Token(ctx context.Context, site string, kind actions.TokenKind) (context.Context, actions.Token, func(), error) {
	if c.reference(site, kind) != "" {
		return c.fileTokens.Token(ctx, site, kind)
	}
	for _, source := range c.sources(site, kind) {
		using, token, end, err := source.Token(ctx)
		switch {
		case err == nil:
			return using, actions.NewToken(token.Secret.Reveal()), end, nil
		case fault.From(err).Reason != fault.UnknownConnection:
			return nil, actions.Token{}, nil, err
		}
	}
	return nil, actions.Token{}, nil, c.missing(site, kind)
}

func (c *connectedTokens) missing(site string, kind actions.TokenKind) error {
	flags := "--site " + site
	if kind == actions.BotToken {
		flags += " --principal " + botPrincipal
	}
	provider := c.cfg.Sites[site].Provider
	return fault.New(fault.TokenMissing, "the site %s has neither a connection to %s nor a token in its rest:", site, provider).
		WithFix("connect it with `publisher connect %s %s`, or name a token in rest:", provider, flags)
}

// Refused implements actions.TokenSource. The connection is the one that Token
// took: the first that there is.
func (c *connectedTokens) Refused(ctx context.Context, site string, kind actions.TokenKind, refused actions.Token) (actions.Token, error) {
	if c.reference(site, kind) != "" {
		return c.fileTokens.Refused(ctx, site, kind, refused)
	}
	for _, source := range c.sources(site, kind) {
		token, err := source.Refused(ctx, vault.Token{Secret: vault.NewSecret(refused.Reveal())})
		switch {
		case err == nil:
			return actions.NewToken(token.Secret.Reveal()), nil
		case fault.From(err).Reason != fault.UnknownConnection:
			return actions.Token{}, err
		}
	}
	return actions.Token{}, c.missing(site, kind)
}
