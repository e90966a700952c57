package app

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow"
)

// validator collects what is wrong in a configuration.
type validator struct {
	source  *workflow.Source
	catalog *actions.Catalog
	// overridden names, by key, the variable that the value came from.
	overridden map[string]string
	problems   []workflow.Problem
}

func (v *validator) report(path, fix, format string, args ...any) {
	problem := v.source.Problem(path, fix, format, args...)
	if variable, ok := v.overridden[path]; ok {
		problem = workflow.Problem{File: "the environment variable " + variable, Path: path, Message: problem.Message, Fix: fix}
	}
	v.problems = append(v.problems, problem)
}

// secret reports a secret that stands in the open, without showing it.
func (v *validator) secret(path, fix string) {
	v.report(path, fix, "a secret never stands in the configuration")
	v.problems[len(v.problems)-1].Excerpt = ""
}

func (v *validator) config(c *Config) {
	v.keys(reflect.ValueOf(c).Elem(), "")
	v.bus(c.Bus)
	if !c.Sessions.Key.legal() {
		v.secret("sessions.key", "write env:NAME or file:/path; `worker keys` prints a new key for that file")
	}
	v.ingest(c)
	v.gateway(c)
	v.vault(c.Vault)
	v.crm(c)
	if c.Telemetry.Listen != "" {
		v.address("telemetry.listen", c.Telemetry.Listen)
	}
	if name := c.Worker.Name; len(name) > 128 || strings.ContainsFunc(name, func(r rune) bool { return !isNameRune(r) }) {
		v.report("worker.name", "use letters, digits, - and _, at most 128", "%q cannot name a worker", name)
	}
	for i, role := range c.Worker.Roles {
		v.choice(fmt.Sprintf("worker.roles[%d]", i), role, roles())
	}
	for i, pattern := range c.Worker.Actions {
		v.pattern(fmt.Sprintf("worker.actions[%d]", i), pattern)
	}
	taken := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Sites)) {
		v.site(name, c.Sites[name], taken)
	}
}

// keys checks what the tags oneof, min and max say.
func (v *validator) keys(of reflect.Value, path string) {
	_ = eachKey(of, path, func(k key) error {
		if choices := k.field.Tag.Get("oneof"); choices == "@sources" {
			v.choice(k.path, k.value.String(), sourceTypes())
		} else if choices == "@targets" {
			v.choice(k.path, k.value.String(), targetTypes())
		} else if choices != "" {
			v.choice(k.path, k.value.String(), strings.Split(choices, ","))
		}
		if size, ok := reflect.TypeAssert[Size](k.value); ok {
			if _, err := size.Bytes(); err != nil {
				v.report(k.path, "write a whole number and KiB, MiB or GiB: 2GiB", "%s", err)
			}
		}
		low, high := k.field.Tag.Get("min"), k.field.Tag.Get("max")
		if low != "" && outside(k.value.Interface(), low, high) {
			v.report(k.path, fmt.Sprintf("use %s to %s", low, high), "%v is out of bounds", k.value.Interface())
		}
		return nil
	})
}

func outside(value any, low, high string) bool {
	switch value := value.(type) {
	case int:
		lowest, _ := strconv.Atoi(low)
		highest, _ := strconv.Atoi(high)
		return value < lowest || value > highest
	case time.Duration:
		lowest, _ := time.ParseDuration(low)
		highest, _ := time.ParseDuration(high)
		return value < lowest || value > highest
	}
	return false
}

func (v *validator) choice(path, value string, choices []string) {
	if slices.Contains(choices, value) {
		return
	}
	v.report(path, nearest(value, choices), "%q is not one of %s", value, strings.Join(choices, ", "))
}

// nearest returns the fix for a value that should be one of the choices.
func nearest(value string, choices []string) string {
	if near := fault.Nearest(value, choices); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "use one of " + strings.Join(choices, ", ")
}

func (v *validator) bus(b BusConfig) {
	if !b.Credentials.legal() {
		v.secret("bus.credentials", "write env:NAME or file:/path")
	}
	if b.Listen != "" {
		v.address("bus.listen", b.Listen)
	}
	for server := range strings.SplitSeq(b.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		switch {
		case b.URL == "":
		case err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
			v.report("bus.url", "write nats://host:4222", "%q is not the address of a NATS server", redact(server))
		case u.User != nil:
			v.secret("bus.url", "use bus.credentials with env:NAME or file:/path")
		}
	}
}

func (v *validator) address(path, address string) {
	_, port, err := net.SplitHostPort(address)
	if n, wrong := strconv.Atoi(port); err != nil || wrong != nil || n < 0 || n > 65535 {
		v.report(path, "write host:port, such as 127.0.0.1:4222", "%q is not an address", address)
	}
}

// pattern checks a pattern of actions: its form, and that it means something.
func (v *validator) pattern(path, pattern string) {
	if _, err := event.QueueFilter(pattern); err != nil {
		e := fault.From(err)
		v.report(path, e.Fix, "%s", e.Message)
		return
	}
	names := make([]string, 0, len(v.catalog.Actions()))
	for _, spec := range v.catalog.Actions() {
		names = append(names, spec.Name)
	}
	if !slices.ContainsFunc(names, func(name string) bool { return matchesAction(pattern, name) }) {
		v.report(path, nearest(pattern, names), "no action matches %q", pattern)
	}
}

// matchesAction reports whether the pattern takes the action.
func matchesAction(pattern, action string) bool {
	want := strings.Split(pattern, ".")
	for i, token := range strings.Split(action, ".") {
		if i < len(want) && want[i] != "*" && want[i] != token {
			return false
		}
	}
	return true
}

// site checks one site. taken holds the domains of the sites before.
func (v *validator) site(name string, s SiteConfig, taken map[string]string) {
	at := "sites." + name
	if !event.IsToken(name) {
		v.report(at, "use lower-case letters, digits and -", "%q is no name for a site", name)
	}
	v.keys(reflect.ValueOf(s), at)
	v.provider(at, s)
	if len(s.Domains) == 0 {
		v.report(at, "add `domains: [shop.example.com]`", "the site has no domain")
	}
	for i, domain := range s.Domains {
		path := fmt.Sprintf("%s.domains[%d]", at, i)
		if !isDomain(domain) {
			v.report(path, "write a host, or a host and a path: shop.example.com/de", "%q is not a domain", domain)
			continue
		}
		if other := taken[domain]; other != "" {
			v.report(path, "give it to one of the two", "the domain %s already belongs to the site %s", domain, other)
		}
		taken[domain] = name
	}
	v.urls(at, s)
	v.rest(at+".rest", s.REST)
	for key, value := range s.Variables {
		switch value.(type) {
		case string, int, int64, uint64, float64:
		default:
			v.report(at+".variables."+key, "write a text or a number", "a variable cannot be a %T", value)
		}
	}
}

func (v *validator) provider(at string, s SiteConfig) {
	provider, ok := v.catalog.Provider(s.Provider)
	if !ok {
		var names []string
		for _, spec := range v.catalog.Actions() {
			name, _, _ := strings.Cut(spec.Name, ".")
			names = append(names, name)
		}
		slices.Sort(names)
		v.choice(at+".provider", s.Provider, slices.Compact(names))
		return
	}
	v.choice(at+".mode", s.Mode, provider.Modes)
	if s.AppID == "" {
		v.report(at, "add `app_id:` with the id from the vendor's install snippet", "the site has no app_id")
	} else if err := provider.CheckAppID(s.AppID); err != nil {
		e := fault.From(err)
		v.report(at+".app_id", e.Fix, "%s", e.Message)
	}
}

// urls checks the site's page and the origins of its webviews.
func (v *validator) urls(at string, s SiteConfig) {
	u, err := url.Parse(s.URL)
	if s.URL == "" {
		// It follows from the domains, and there is something wrong with those.
	} else if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		v.report(at+".url", "write https://shop.example.com/", "%q is not the address of a page", s.URL)
	} else if len(s.Domains) > 0 && !slices.ContainsFunc(s.Domains, func(d string) bool { return domainMatch(d, u) > 0 }) {
		v.report(at+".url", "use a page on one of the site's `domains:`, or add its host there", "the host %s is none of the site's domains", u.Host)
	}
	for i, origin := range s.Webviews {
		path := fmt.Sprintf("%s.webviews[%d]", at, i)
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			v.report(path, "write scheme and host: https://shop.example.com", "%q is not an origin", origin)
		}
	}
}
