package app

import (
	"bytes"
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/fault"
)

// SiteREST is how a site reaches its vendor's.REST API.
type SiteREST struct {
	Token    Secret `yaml:"token"     doc:"the API token of the vendor's account, as file:/path, or env:NAME of a variable with its path; the file is read again when the vendor refuses the token, and when it has changed; empty means the one of the site's connection, see publisher connect"`
	BotToken Secret `yaml:"bot_token" doc:"the bot's own access token, for botstar.messages.broadcast; given as token is; empty means the one of the connection with the principal bot"`
	BaseURL  string `yaml:"base_url"  doc:"the address of the API, where it is not the vendor's own; https, or http on this machine"`
}

// rest checks how a site reaches its vendor's REST API. A wrong base_url is not
// shown with the lines around it: one of them may hold a secret in the open.
func (v *validator) rest(at string, r SiteREST) {
	for _, secret := range []struct {
		name  string
		value Secret
	}{{"token", r.Token}, {"bot_token", r.BotToken}} {
		if !secret.value.legal() {
			v.secret(at+"."+secret.name, "write env:NAME or file:/path")
		}
	}
	u, err := url.Parse(r.BaseURL)
	switch {
	case r.BaseURL == "":
		return
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		v.report(at+".base_url", "write https://apis.example.com/v1", "this is not the address of an API")
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		v.report(at+".base_url", "write https://", "a token does not travel in the open: %q", u.Scheme)
	default:
		return
	}
	v.problems[len(v.problems)-1].Excerpt = ""
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// fileAge is how long a token is used before its file is looked at again.
const fileAge = time.Second

// fileTokens are the tokens that the configuration names.
type fileTokens struct {
	cfg *Config
	env Env
	now func() time.Time

	mu   sync.Mutex // guards the field below
	read map[Secret]readToken
}

type readToken struct {
	token actions.Token
	at    time.Time
}

func newFileTokens(cfg *Config, env Env) *fileTokens {
	return &fileTokens{cfg: cfg, env: env, now: time.Now, read: map[Secret]readToken{}}
}

// Token implements actions.TokenSource. What a file says ends no call.
func (f *fileTokens) Token(ctx context.Context, site string, kind actions.TokenKind) (context.Context, actions.Token, func(), error) {
	token, err := f.token(site, kind, fileAge)
	return ctx, token, func() {}, err
}

// Refused implements actions.TokenSource: the file may have changed.
func (f *fileTokens) Refused(_ context.Context, site string, kind actions.TokenKind, refused actions.Token) (actions.Token, error) {
	token, err := f.token(site, kind, 0)
	if err == nil && token.Reveal() == refused.Reveal() {
		err = fault.New(fault.TokenRefused, "the vendor refuses the token that %s names", f.reference(site, kind))
	}
	return token, err
}

func (f *fileTokens) reference(site string, kind actions.TokenKind) Secret {
	r := f.cfg.Sites[site].REST
	if kind == actions.BotToken {
		return r.BotToken
	}
	return r.Token
}

// token returns the token, which was read within the age.
func (f *fileTokens) token(site string, kind actions.TokenKind, age time.Duration) (actions.Token, error) {
	reference := f.reference(site, kind)
	if reference == "" {
		key := "token"
		if kind == actions.BotToken {
			key = "bot_token"
		}
		return actions.Token{}, fault.New(fault.TokenMissing, "the site %s has no rest.%s", site, key)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if was, ok := f.read[reference]; ok && f.now().Sub(was.at) < age {
		return was.token, nil
	}
	file, err := reference.Path(f.env)
	if err != nil {
		return actions.Token{}, err
	}
	text, err := os.ReadFile(file) //nolint:gosec // the operator names the file.
	if err != nil {
		return actions.Token{}, fault.New(fault.TokenMissing, "the token %s cannot be read", reference).Because(err)
	}
	value := bytes.TrimSpace(text)
	if len(value) < minToken || bytes.ContainsAny(value, "\r\n\x00") {
		return actions.Token{}, fault.New(fault.TokenMissing, "the token %s is not one line of at least %d characters", reference, minToken)
	}
	f.read[reference] = readToken{actions.NewToken(string(value)), f.now()}
	return f.read[reference].token, nil
}

// minToken is the fewest characters of a token.
const minToken = 8

// newREST returns the way to the vendors' REST APIs. It is led to stand-ins as
// the browsers are; roots are the authorities that are trusted then.
func newREST(log *slog.Logger, c WorkerConfig, tokens actions.TokenSource, resolve map[string]string, roots *x509.CertPool) *actions.RESTClient {
	return actions.NewREST(log, actions.RESTOptions{
		Tokens: tokens, Resolve: resolve, Roots: roots, Rate: actions.Rate{PerSecond: c.RESTRate, Burst: c.RESTBurst},
	})
}

// standinTokens are the tokens of the stand-in: `worker dev` reads no real one.
type standinTokens struct{ account, bot string }

// Token implements actions.TokenSource.
func (s standinTokens) Token(ctx context.Context, _ string, kind actions.TokenKind) (context.Context, actions.Token, func(), error) {
	if kind == actions.BotToken {
		return ctx, actions.NewToken(s.bot), func() {}, nil
	}
	return ctx, actions.NewToken(s.account), func() {}, nil
}

// Refused implements actions.TokenSource.
func (standinTokens) Refused(context.Context, string, actions.TokenKind, actions.Token) (actions.Token, error) {
	return actions.Token{}, fault.New(fault.TokenRefused, "the stand-in refuses its own token")
}
