package app

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/visitor/snippet"
)

// snippetCmd prints what a website puts into its pages.
type snippetCmd struct {
	Site    string `short:"s" help:"The site's name, or a page of it. Default: the only one."`
	Gateway string `placeholder:"URL" help:"The address at which pages reach the gateway. Default: gateway.url."`
	Key     string `placeholder:"KEY" help:"The site's publishable key. Default: the site's visitor.key."`
	Consent string `enum:"ask,google,given" default:"ask" placeholder:"WHO" help:"Who says that the visitor agrees: ask is the page, with parley.consent; google is Google's consent mode too; given is you."`
	Nonce   string `placeholder:"TEXT" help:"What your pages put into script-src as a nonce: usually a place holder of your templates. Without it the policy names a hash."`
	Latest  bool   `help:"Make the tag follow the gateway's version: without a hash, and without a change after an update."`
	Page    string `placeholder:"FILE" help:"Write a test page too."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

// Help is the long help.
func (*snippetCmd) Help() string {
	return `Example:

  publisher snippet --site shop --nonce '{{ csp_nonce }}' --page parley-test.html

The tag names this version's file and its hash, so it never loads anything else. It goes on to work after an update; print it again to have the new version.`
}

// snippetInfo is the command's JSON.
type snippetInfo struct {
	Site    string         `json:"site"`
	Gateway string         `json:"gateway"`
	Key     string         `json:"key"`
	Tag     string         `json:"tag"`
	Policy  string         `json:"policy"`
	CSP     snippet.Policy `json:"csp"`
	File    snippet.File   `json:"file"`
	Driver  snippet.File   `json:"driver"`
	Page    string         `json:"page,omitempty"`
}

// Run prints the tag and the policy, and writes the test page.
func (s *snippetCmd) Run(c *cli) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	name, err := c.site(cfg, s.Site)
	if err != nil {
		return err
	}
	site, err := s.site(cfg, name)
	if err != nil {
		return err
	}
	info, err := s.info(name, site)
	if err != nil {
		return err
	}
	if s.Page != "" {
		page, err := snippet.TestPage(site, name)
		if err != nil {
			return fmt.Errorf("making the test page: %w", err)
		}
		if err := os.WriteFile(s.Page, []byte(page), 0o644); err != nil { //nolint:gosec // A web page, for everybody.
			return fault.New(fault.BadConfig, "writing the test page %s", s.Page).Because(err)
		}
	}
	if s.JSON {
		return c.print(info)
	}
	return s.print(c, info)
}

// site returns what the tag is made for.
func (s *snippetCmd) site(cfg *Config, name string) (snippet.Site, error) {
	of := cfg.Sites[name]
	site := snippet.Site{Key: s.Key, Gateway: s.Gateway, Provider: of.Provider, Consent: s.Consent, Nonce: s.Nonce, Latest: s.Latest}
	if site.Key == "" {
		site.Key = of.Visitor.Key
	}
	if site.Gateway == "" {
		site.Gateway = cfg.Gateway.URL
	}
	if site.Key == "" {
		return site, fault.New(fault.BadConfig, "the site %s has no publishable key", name).
			WithFix("add `visitor: {key: pk_%s_%s}` to the site, with letters of your own, or give --key", name, "…")
	}
	if site.Gateway == "" {
		return site, fault.New(fault.BadConfig, "nobody says where pages reach the gateway").
			WithFix("set `gateway: {url: https://chat.example.com}`, or give --gateway")
	}
	return site, nil
}

func (s *snippetCmd) info(name string, site snippet.Site) (snippetInfo, error) {
	info := snippetInfo{Site: name, Gateway: site.Gateway, Key: site.Key, Page: s.Page}
	m, err := snippet.Load()
	if err != nil {
		return info, fmt.Errorf("reading the snippet: %w", err)
	}
	if info.Tag, err = snippet.Tag(site); err != nil {
		return info, fmt.Errorf("making the tag: %w", err)
	}
	if info.CSP, err = snippet.CSP(site); err != nil {
		return info, fmt.Errorf("making the policy: %w", err)
	}
	info.Policy, info.File, info.Driver = info.CSP.String(), m.Snippet, m.Drivers[site.Provider]
	return info, nil
}

// print writes it for a person.
func (s *snippetCmd) print(c *cli, info snippetInfo) error {
	var text strings.Builder
	_, _ = fmt.Fprintf(&text, "Into the <head> of each page of %s (%d bytes on its way; nothing else is loaded before it is needed):\n\n%s\n"+
		"What it needs of the Content-Security-Policy, the vendor's widget included:\n\n", info.Site, info.File.Gzip, info.Tag)
	for _, directive := range slices.Sorted(maps.Keys(info.CSP)) {
		text.WriteString("  " + directive + "\n")
		for _, source := range info.CSP[directive] {
			text.WriteString("    " + source + "\n")
		}
	}
	switch s.Consent {
	case snippet.ConsentAsk:
		text.WriteString("\nIt does nothing before the visitor has agreed: call parley.consent({functionality: true, analytics: true}).\n")
	case snippet.ConsentGoogle:
		text.WriteString("\nIt does nothing before functionality_storage is granted, or parley.consent({functionality: true}) was called.\n")
	}
	if info.Page != "" {
		text.WriteString("\nThe test page is " + info.Page + ". Put it on a domain of the site.\n")
	}
	if _, err := fmt.Fprint(c.Stdout, text.String()); err != nil {
		return fmt.Errorf("printing the snippet: %w", err)
	}
	return nil
}
