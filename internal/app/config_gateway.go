package app

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/session"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// GatewayConfig says where visitors' pages connect.
type GatewayConfig struct {
	Listen      string        `yaml:"listen"      doc:"host:port where visitors' pages connect; empty means none"`
	URL         string        `yaml:"url"         doc:"the address that pages know it by, such as https://chat.example.com, for publisher snippet"`
	Secret      Secret        `yaml:"secret"      doc:"what signs visitors' tokens, the same for all gateways of a bus, as file:/path, or env:NAME of a variable with its path; empty means a new one with every start, which only the embedded server allows"`
	TokenLife   time.Duration `yaml:"token_life"  doc:"how long a visitor's token is good for another connection" default:"10m" min:"1m" max:"1h"`
	Connections int           `yaml:"connections" doc:"connections that may be open" default:"100000" min:"1" max:"1000000"`
	PerAddress  int           `yaml:"per_address" doc:"connections of one address; offices share one" default:"500" min:"1" max:"1000000"`
	Forwarded   bool          `yaml:"forwarded"   doc:"a proxy in front adds the visitor's address to X-Forwarded-For: trust the last one there"`
	Drain       time.Duration `yaml:"drain"       doc:"how long pages have to connect elsewhere when the gateway stops" default:"5s" min:"100ms" max:"5m"`
}

// SiteVisitor says how the site's visitors are reached in their own tabs.
type SiteVisitor struct {
	Key      string   `yaml:"key"             doc:"the publishable key that the site's pages carry, at least 8 characters; no secret. Empty means that no page of the site connects"`
	Origins  []string `yaml:"origins"         doc:"the pages that may connect: scheme, host and port, such as https://shop.example.com; empty means https:// and each of domains"`
	Identity []Secret `yaml:"identity_secret" doc:"what the customer's own backend signs with, to say who is logged in, as file:/path or env:NAME of a variable with the path; two while it is being changed"`
	Executor string   `yaml:"executor"        doc:"where actions run: auto is the visitor's own tab when it is connected, else a browser of ours for visitors with a user id; visitor is the visitor's own tab only, and commands wait for it; headless is a browser of ours" default:"auto" oneof:"auto,visitor,headless"`
	// Actions wins over Executor.
	Actions   map[string]string `yaml:"actions"   doc:"the executor of single actions, by pattern: botstar.widget.open: visitor. Webviews run headless unless this says otherwise"`
	Load      string            `yaml:"load"      doc:"when a page fetches the vendor's widget: action is with the first command that needs it" default:"action" oneof:"action,idle,interaction,now"`
	Off       bool              `yaml:"off"       doc:"the kill switch: pages do nothing"`
	Analytics SiteAnalytics     `yaml:"analytics" doc:"which calls of the page's own analytics become events"`
}

// SiteAnalytics says which calls of the page's own analytics become events.
type SiteAnalytics struct {
	DataLayer bool              `yaml:"data_layer" doc:"listen to Google Tag Manager's dataLayer"`
	Segment   bool              `yaml:"segment"    doc:"listen to calls of analytics.track"`
	Events    map[string]string `yaml:"events"     doc:"the page's names of events, and ours; a name that is not there is not sent"`
	PerMinute int               `yaml:"per_minute" doc:"the most events of one page" default:"60" min:"1" max:"600"`
}

// webviewActions run headless by default: a webview is a page of its own, and
// the visitor's tab shows another one.
const webviewActions = "*.webview.*"

// executor says where the action runs on the site.
func (c *Config) executor(site actions.Site, action string) string {
	s, ok := c.Sites[site.Name]
	if !ok || s.Visitor.Key == "" {
		return session.ExecutorHeadless
	}
	best := ""
	for pattern := range s.Visitor.Actions { // The longest pattern wins.
		if ok, err := path.Match(pattern, action); err == nil && ok && (len(pattern) > len(best) || len(pattern) == len(best) && pattern < best) {
			best = pattern
		}
	}
	if best != "" {
		return s.Visitor.Actions[best]
	}
	if ok, err := path.Match(webviewActions, action); err == nil && ok {
		return session.ExecutorHeadless
	}
	return s.Visitor.Executor
}

// visited reports whether any site's visitors are reached in their own tabs.
func (c *Config) visited() bool {
	for _, s := range c.Sites {
		if s.Visitor.Key != "" {
			return true
		}
	}
	return false
}

// origins returns the pages of the site that may connect.
func (s *SiteConfig) origins() []string {
	if len(s.Visitor.Origins) > 0 {
		return s.Visitor.Origins
	}
	var all []string
	for _, domain := range s.Domains {
		host, _, _ := strings.Cut(domain, "/")
		if one := "https://" + host; !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all
}

// page returns what the site's pages are told. booted are the settings of a
// widget that the page loads without a command.
func (s *SiteConfig) page(boot []byte) wire.Config {
	v := s.Visitor
	c := wire.Config{Enabled: !v.Off, Driver: s.Provider, Load: v.Load, Mode: s.Mode, Boot: boot}
	if a := v.Analytics; a.DataLayer || a.Segment {
		c.Analytics = &wire.Analytics{DataLayer: a.DataLayer, Segment: a.Segment, Events: maps.Clone(a.Events), PerMinute: a.PerMinute}
	}
	return c
}

// gateway checks the section of that name.
func (v *validator) gateway(c *Config) {
	g := c.Gateway
	if g.Listen != "" {
		v.address("gateway.listen", g.Listen)
		if !c.visited() {
			v.report("gateway.listen", "add `visitor: {key: …}` to a site", "no site has visitors who may connect")
		}
	}
	if !g.Secret.legal() {
		v.secret("gateway.secret", "write env:NAME or file:/path; make a secret with `openssl rand -hex 32`")
	}
	if u, err := url.Parse(g.URL); g.URL != "" && (err != nil || !isOrigin(u)) {
		v.report("gateway.url", "write scheme and host: https://chat.example.com", "%q is no address of a gateway", g.URL)
	}
	keys := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Sites)) {
		v.visitor("sites."+name+".visitor", c.Sites[name].Visitor, keys)
	}
}

func (v *validator) visitor(at string, s SiteVisitor, keys map[string]string) {
	if s.Key != "" && (len(s.Key) < 8 || len(s.Key) > 64 || strings.ContainsFunc(s.Key, func(r rune) bool { return !isNameRune(r) })) {
		v.report(at+".key", "use 8 to 64 letters, digits, - and _", "%q cannot be a key", s.Key)
	}
	if other := keys[s.Key]; s.Key != "" && other != "" {
		v.report(at+".key", "give each site a key of its own", "%s has the same key", other)
	}
	keys[s.Key] = at
	for i, origin := range s.Origins {
		if u, err := url.Parse(origin); err != nil || !isOrigin(u) {
			v.report(fmt.Sprintf("%s.origins[%d]", at, i), "write scheme and host, and the port where it is not the usual one: https://shop.example.com", "%q is not an origin", origin)
		}
	}
	for i, secret := range s.Identity {
		if secret == "" || !secret.legal() {
			v.secret(fmt.Sprintf("%s.identity_secret[%d]", at, i), "write env:NAME or file:/path")
		}
	}
	for pattern, executor := range s.Actions {
		v.choice(at+".actions."+pattern, executor, []string{session.ExecutorAuto, session.ExecutorVisitor, session.ExecutorHeadless})
		if _, err := event.QueueFilter(pattern); err != nil && pattern != webviewActions {
			v.report(at+".actions."+pattern, "write a pattern such as botstar.widget.*", "%q is no pattern of actions", pattern)
		}
	}
}

func isOrigin(u *url.URL) bool {
	return u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") && u.Path == "" && u.RawQuery == "" && u.Fragment == "" && u.User == nil
}
