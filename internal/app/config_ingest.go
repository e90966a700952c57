package app

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/botstar"
	"github.com/parley-chat/parley/internal/ingest/cloudevents"
	"github.com/parley-chat/parley/internal/ingest/ga4"
	"github.com/parley-chat/parley/internal/ingest/gtm"
	"github.com/parley-chat/parley/internal/ingest/plain"
	"github.com/parley-chat/parley/internal/ingest/posthog"
	"github.com/parley-chat/parley/internal/ingest/rudderstack"
	"github.com/parley-chat/parley/internal/ingest/segment"
	"github.com/parley-chat/parley/internal/ingest/tracking"
)

// newSource returns the source of the settings' type.
func newSource(s ingest.Settings) (ingest.Source, error) {
	switch s.Type {
	case "botstar":
		return botstar.New(s)
	case "cloudevents":
		return cloudevents.New(s)
	case "ga4":
		return ga4.New(s)
	case "gtm":
		return gtm.New(s)
	case "plain":
		return plain.New(s)
	case "posthog":
		return posthog.New(s)
	case "rudderstack":
		return rudderstack.New(s)
	case "segment":
		return segment.New(s)
	case "tracking":
		return tracking.New(s)
	}
	return nil, fault.New(fault.BadConfig, "there is no kind of source %q", s.Type).WithFix("%s", nearest(s.Type, sourceTypes()))
}

// sourceTypes are the kinds of sources.
func sourceTypes() []string {
	return []string{"botstar", "cloudevents", "ga4", "gtm", "plain", "posthog", "rudderstack", "segment", "tracking"}
}

// mounts reads the secrets and returns the sources at their addresses, by name.
func (c *Config) mounts(env Env) ([]ingest.Mount, error) {
	var all []ingest.Mount
	for _, name := range slices.Sorted(maps.Keys(c.Ingest.Sources)) {
		mount, err := c.mount(name, env)
		if err != nil {
			return nil, err
		}
		all = append(all, mount)
	}
	return all, nil
}

// mount is mounts for the source of the name.
func (c *Config) mount(name string, env Env) (ingest.Mount, error) {
	from := c.Ingest.Sources[name]
	secrets, err := readSecrets(from.Secrets, env)
	if err != nil {
		return ingest.Mount{}, fmt.Errorf("reading ingest.sources.%s.secrets: %w", name, err)
	}
	token, err := readSecrets(from.Token, env)
	if err != nil {
		return ingest.Mount{}, fmt.Errorf("reading ingest.sources.%s.token: %w", name, err)
	}
	quota, err := perSecond(from.Quota)
	if err != nil {
		return ingest.Mount{}, fmt.Errorf("reading ingest.sources.%s.quota: %w", name, err)
	}
	settings := ingest.Settings{
		Name: name, Type: from.Type, Secrets: secrets, Mapping: from.Mapping, Quota: quota, Open: from.Open,
	}
	source, err := newSource(settings)
	if err != nil {
		return ingest.Mount{}, fmt.Errorf("making the source ingest.sources.%s: %w", name, err)
	}
	return ingest.Mount{
		Settings: settings, Source: source, Path: from.Path, Site: from.Site,
		Token: token, TokenIn: from.TokenIn, Origins: from.Origins,
	}, nil
}

// readSecrets reads the files that the references name. Space around a secret is
// none of it.
func readSecrets(references []Secret, env Env) ([][]byte, error) {
	var all [][]byte
	for _, reference := range references {
		file, err := reference.Path(env)
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(file) //nolint:gosec // the operator names the file.
		if err != nil {
			return nil, fault.New(fault.BadConfig, "the secret %s cannot be read", reference).Because(err)
		}
		secret := bytes.TrimSpace(text)
		if len(secret) < minSecret {
			return nil, fault.New(fault.BadConfig, "the secret %s has fewer than %d bytes", reference, minSecret).
				WithFix("make one with `openssl rand -hex 32`")
		}
		all = append(all, secret)
	}
	return all, nil
}

// minSecret is the fewest bytes that a secret may have: nobody guesses them.
const minSecret = 8

// perSecond reads a quota such as 100/s; "" is 0.
func perSecond(quota string) (float64, error) {
	if quota == "" {
		return 0, nil
	}
	number, unit, _ := strings.Cut(quota, "/")
	seconds, known := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	n, err := strconv.Atoi(number)
	if err != nil || n <= 0 || !known {
		return 0, fault.New(fault.BadConfig, "%q is no quota such as 100/s, 6000/m or 10000/h", quota)
	}
	return float64(n) / seconds, nil
}

// ingest checks the section of that name.
func (v *validator) ingest(c *Config) {
	if c.Ingest.Listen != "" {
		v.address("ingest.listen", c.Ingest.Listen)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Ingest.Sources)) {
		v.from(c, name, c.Ingest.Sources[name])
	}
	host, _, err := net.SplitHostPort(c.Ingest.Listen)
	if ip := net.ParseIP(host); err != nil || host == "localhost" || ip != nil && ip.IsLoopback() {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(c.Ingest.Sources)) {
		if c.Ingest.Sources[name].Open {
			c.Warnings = append(c.Warnings, "the source "+name+" is open, and ingest.listen is reached from outside: anybody may send events")
		}
	}
}

// from checks one source.
func (v *validator) from(c *Config, name string, s SourceConfig) {
	at := "ingest.sources." + name
	if !event.IsToken(name) {
		v.report(at, "use lower-case letters, digits and -", "%q is no name for a source", name)
	}
	if s.Type == "" {
		v.report(at, "add `type:` with one of "+strings.Join(sourceTypes(), ", "), "the source has no type")
	} else {
		v.choice(at+".type", s.Type, sourceTypes())
	}
	if _, known := c.Sites[s.Site]; s.Site != "" && !known {
		v.report(at+".site", nearest(s.Site, c.SiteNames()), "there is no site %q", s.Site)
	}
	if s.Path != "/" && (!strings.HasPrefix(s.Path, "/") || strings.HasSuffix(s.Path, "/") || strings.ContainsAny(s.Path, "?#%{} ") || s.Path == "/healthz") {
		v.report(at+".path", "write a path such as /in/"+name+", or /", "%q is no address for a source", s.Path)
	}
	for _, list := range []struct {
		name    string
		secrets []Secret
	}{{"secrets", s.Secrets}, {"token", s.Token}} {
		for i, secret := range list.secrets {
			if secret == "" || !secret.legal() {
				v.secret(fmt.Sprintf("%s.%s[%d]", at, list.name, i), "write env:NAME or file:/path")
			}
		}
	}
	if len(s.Secrets) == 0 && len(s.Token) == 0 && !s.Open {
		v.report(at, "add `token:` or `secrets:`, or `open: true` where anybody may send", "nothing would prove who sends the events")
	}
	v.tokenIn(at, s)
	if _, err := perSecond(s.Quota); err != nil {
		v.report(at+".quota", "write a number and /s, /m or /h", "%s", err)
	}
	for i, origin := range s.Origins {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.Path != "" || u.RawQuery != "" {
			v.report(fmt.Sprintf("%s.origins[%d]", at, i), "write scheme and host: https://shop.example.com", "%q is not an origin", origin)
		}
	}
	// What may be mapped is the source's own business.
	if _, err := newSource(ingest.Settings{Name: name, Type: s.Type, Mapping: s.Mapping, Open: true}); err != nil && slices.Contains(sourceTypes(), s.Type) {
		e := fault.From(err)
		v.report(strings.TrimSuffix(at+".mapping."+strings.TrimPrefix(e.Field, "/"), "."), e.Fix, "%s", e.At("").Error())
	}
}

func (v *validator) tokenIn(at string, s SourceConfig) {
	kind, name, named := strings.Cut(s.TokenIn, ":")
	ok := slices.Contains([]string{"", "path", "bearer", "basic"}, s.TokenIn) || named && name != "" && (kind == "header" || kind == "query")
	if !ok {
		v.report(at+".token_in", "write path, bearer, basic, header:NAME or query:NAME", "%q is no place for a token", s.TokenIn)
	}
	if s.TokenIn != "" && len(s.Token) == 0 {
		v.report(at+".token_in", "add `token:`, or leave it out", "the source has no token")
	}
}
