package app

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/fault"
)

// Site returns the site of the name, as the actions see it.
func (c *Config) Site(name string) (actions.Site, bool) {
	s, ok := c.Sites[name]
	if !ok {
		return actions.Site{}, false
	}
	hosts := make([]string, 0, len(s.Domains))
	for _, domain := range s.Domains {
		host, _, _ := strings.Cut(domain, "/")
		hosts = append(hosts, host)
	}
	return actions.Site{
		Name: name, Provider: s.Provider, AppID: s.AppID, BotID: s.BotID, BotName: s.BotName,
		Mode: s.Mode, URL: s.URL, FullPage: s.Page == "full", Domains: slices.Compact(hosts), Webviews: s.Webviews,
		Variables: maps.Clone(s.Variables), Block: s.Block, RESTBase: s.REST.BaseURL,
		Takeover: c.takeover(name, s),
	}, true
}

// takeover returns the clocks of takeovers on the site; nil where no webhook can
// tell of one.
func (c *Config) takeover(name string, s SiteConfig) *actions.TakeoverClocks {
	for _, from := range c.Ingest.Sources {
		if from.Type == s.Provider && (from.Site == "" || from.Site == name) {
			return &actions.TakeoverClocks{Idle: s.TakeoverIdle, Session: s.TakeoverSession}
		}
	}
	return nil
}

// AllSites returns every site, by name.
func (c *Config) AllSites() []actions.Site {
	var sites []actions.Site
	for _, name := range c.SiteNames() {
		site, _ := c.Site(name)
		sites = append(sites, site)
	}
	return sites
}

// SiteNames returns the names of the sites, sorted.
func (c *Config) SiteNames() []string { return slices.Sorted(maps.Keys(c.Sites)) }

// FindSite returns the name of the site that a person means: a site's name, or
// a page or domain of it. The longest match wins; no match is an error, never a
// guess.
func (c *Config) FindSite(text string) (string, error) {
	if _, ok := c.Sites[text]; ok {
		return text, nil
	}
	if !strings.ContainsAny(text, "./:") {
		unknown := fault.New(fault.UnknownSite, "there is no site %q in %s", text, c.name())
		if near := fault.Nearest(text, c.SiteNames()); near != "" {
			unknown = unknown.WithFix("did you mean %s?", near)
		} else if len(c.Sites) > 0 {
			unknown = unknown.WithFix("the sites are %s; add another under `sites:`", strings.Join(c.SiteNames(), ", "))
		}
		return "", unknown
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "", fault.New(fault.UnmappedDomain, "%q is neither a site nor the address of a page", text)
	}
	best, longest := "", 0
	for _, name := range c.SiteNames() {
		for _, domain := range c.Sites[name].Domains {
			if n := domainMatch(domain, u); n > longest {
				best, longest = name, n
			}
		}
	}
	if best == "" {
		return "", fault.New(fault.UnmappedDomain, "no site in %s has the domain %s", c.name(), u.Hostname())
	}
	return best, nil
}

// name returns the configuration's name for a person.
func (c *Config) name() string {
	if c.File == "" {
		return "the built-in configuration"
	}
	return c.File
}

// domainMatch returns how much of the address the domain matches, in bytes; 0
// when it does not. A path matches whole segments.
func domainMatch(domain string, u *url.URL) int {
	host, path, _ := strings.Cut(strings.TrimSuffix(domain, "/"), "/")
	if !strings.EqualFold(host, u.Hostname()) {
		return 0
	}
	have := strings.Trim(u.Path, "/")
	if path != "" && have != path && !strings.HasPrefix(have, path+"/") {
		return 0
	}
	return len(domain)
}

// isDomain reports whether the text is a host in lower case, with or without a
// path. It refuses schemes, ports and queries.
func isDomain(text string) bool {
	u, err := url.Parse("https://" + text)
	if err != nil || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return false
	}
	return !strings.Contains(text, ":") && strings.ToLower(u.Host) == u.Host
}
