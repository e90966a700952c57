package browser

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/internal/fault"
)

// A rule allows one host, or the subdomains of one.
type rule struct {
	host string // in lower case, without a final dot
	sub  bool   // the subdomains of host, and not host itself
	port string // "" is the port of the scheme
	http bool   // plain http is allowed too
}

// parseRule reads an entry in the form of [Request.Hosts].
func parseRule(entry string) (rule, error) {
	var r rule
	text, plain := strings.CutPrefix(entry, "http://")
	r.http = plain
	host := text
	if strings.Contains(text, ":") {
		var err error
		if host, r.port, err = net.SplitHostPort(text); err != nil {
			return rule{}, fault.New(fault.BadConfig, "host %q: %s", entry, err)
		}
		if n, err := strconv.ParseUint(r.port, 10, 16); err != nil || n == 0 {
			return rule{}, fault.New(fault.BadConfig, "host %q: the port is wrong", entry)
		}
	}
	host, r.sub = strings.CutPrefix(host, "*.")
	r.host = canonical(host)
	if r.host == "" {
		return rule{}, fault.New(fault.BadConfig, "host %q is not a host name", entry)
	}
	return r, nil
}

func parseRules(entries []string) ([]rule, error) {
	rules := make([]rule, 0, len(entries))
	for _, entry := range entries {
		r, err := parseRule(entry)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// canonical returns the host as we compare it, or "" when it is no host name
// and no address.
func canonical(host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return a.String()
	}
	for _, c := range host {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return ""
		}
	}
	if len(host) > 253 || strings.Contains(host, "..") || strings.HasPrefix(host, ".") {
		return ""
	}
	return host
}

// allows reports whether the rule covers the connection. plain is true for
// http without TLS.
func (r rule) allows(host, port string, plain bool) bool {
	if r.sub {
		if !strings.HasSuffix(host, "."+r.host) {
			return false
		}
	} else if host != r.host {
		return false
	}
	if plain && !r.http {
		return false
	}
	if r.port != "" {
		return port == r.port
	}
	return port == "443" && !plain || port == "80" && r.http
}

// A place is where a request goes.
type place struct {
	host, port string
	plain      bool
}

// origin returns the place as the origin of a document.
func (at place) origin() *url.URL {
	u := &url.URL{Scheme: "https", Host: at.host}
	usual := "443"
	if at.plain {
		u.Scheme, usual = "http", "80"
	}
	if strings.Contains(at.host, ":") {
		u.Host = "[" + at.host + "]"
	}
	if at.port != usual {
		u.Host += ":" + at.port
	}
	return u
}

// parsePlace reads an address that a page of ours is opened at.
func parsePlace(address string) (*url.URL, place, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, place{}, fault.New(fault.EgressDenied, "the address cannot be read").Because(err)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, place{}, fault.New(fault.EgressDenied, "the address %q is neither https nor http", short(address))
	case u.User != nil:
		return nil, place{}, fault.New(fault.EgressDenied, "the address %q carries a user name", short(u.Redacted()))
	case u.Opaque != "":
		return nil, place{}, fault.New(fault.EgressDenied, "the address %q has no host", short(address))
	}
	at := place{host: canonical(u.Hostname()), port: u.Port(), plain: u.Scheme == "http"}
	if at.host == "" {
		return nil, place{}, fault.New(fault.EgressDenied, "the address %q has no host name that we accept", short(address))
	}
	if at.port == "" {
		at.port = map[bool]string{false: "443", true: "80"}[at.plain]
	}
	return u, at, nil
}

// short cuts what goes into a message.
func short(text string) string {
	const most = 200
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
