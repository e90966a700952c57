package browser

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/parley-chat/parley/internal/fault"
)

// A plan is a request that was checked.
type plan struct {
	url    string
	origin place
	light  string
	rules  []rule
	main   string
	look   string
	label  string
	key    string // two sessions of one key may use a browser context in turn
	egress *egress
	stored *Storage
}

// plan checks the request.
func (p *Pool) plan(r Request) (plan, error) {
	rules, err := parseRules(r.Hosts)
	if err != nil {
		return plan{}, err
	}
	u, at, err := parsePlace(r.URL)
	if err != nil {
		return plan{}, err
	}
	// The page's own host is allowed by being asked for, but not plain http.
	rules = append(rules, rule{host: at.host, port: at.port})
	pl := plan{light: r.Light, rules: rules, main: r.Main, look: r.Look, label: r.Label, egress: p.egress, stored: r.Storage}
	if r.Storage != nil {
		if err := r.Storage.check(); err != nil {
			return plan{}, err
		}
	}
	if err := pl.permit(at); err != nil {
		return plan{}, err
	}
	pl.url = u.String()
	pl.origin = at
	pl.key = fmt.Sprint(at, rules)
	return pl, nil
}

// permit says why the place may not be opened, or nil.
func (pl plan) permit(at place) error {
	for _, list := range [][]rule{pl.rules, pl.egress.rules} {
		for _, r := range list {
			if r.allows(at.host, at.port, at.plain) {
				return nil
			}
		}
	}
	return fault.New(fault.EgressDenied, "the host %s is not one of this session, or only by https", at.host)
}

func (pl plan) kind() kind {
	if pl.light != "" {
		return light
	}
	return full
}

// pattern returns the address without its fragment as a pattern of the Fetch
// domain that matches nothing else.
func pattern(address string) string {
	if u, err := url.Parse(address); err == nil {
		u.Fragment, u.RawFragment = "", ""
		address = u.String()
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(address)
}
