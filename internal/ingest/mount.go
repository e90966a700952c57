package ingest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Mount is a source at its address.
type Mount struct {
	Settings Settings
	Source   Source
	// Path is the source's address, such as "/in/web" or "/". It has no slash at
	// its end, unless it is the root.
	Path string
	// Site is the site of all events. "" is the site of the event's page.
	Site string
	// Token is the secret that proves the sender when its own signature does not,
	// or not alone. More than one are valid while it is being changed; none means
	// that the source has no token.
	Token [][]byte
	// TokenIn is where the token is: "path" (the first part after Path), "bearer",
	// "basic" (the password, or the user when there is none), "header:NAME" or
	// "query:NAME". "" is any of bearer, path and the query's access_token.
	TokenIn string
	// Origins are the web pages that may send from a browser, such as
	// https://shop.example.com.
	Origins []string
}

// mount is a Mount at work.
type mount struct {
	Mount
	limiter *rate.Limiter // nil without a quota
	turns   turns
}

// table finds the mount of a request.
type table struct {
	mounts []*mount // the longest path first
}

func newTable(sources []Mount) (*table, error) {
	t := &table{}
	taken := map[string]string{}
	for _, s := range sources {
		if !event.IsToken(s.Settings.Name) {
			return nil, fault.New(fault.BadConfig, "%q is no name for a source", s.Settings.Name)
		}
		for _, route := range s.Source.Routes() {
			at := route.Method + " " + strings.TrimSuffix(s.Path, "/") + route.Path
			if other, twice := taken[at]; twice {
				return nil, fault.New(fault.BadConfig, "the sources %s and %s both take %s", other, s.Settings.Name, at).
					WithFix("give one of them another `path:`")
			}
			taken[at] = s.Settings.Name
		}
		t.mounts = append(t.mounts, &mount{s, newLimiter(s.Settings.Quota), newTurns()})
	}
	slices.SortStableFunc(t.mounts, func(a, b *mount) int { return len(b.Path) - len(a.Path) })
	return t, nil
}

// place is where in a mount a request goes.
type place struct {
	path  string // after the mount's, with the token taken out
	token string // the first part of the path, where the token may be
}

// find returns the mount and the route of the request. Without a mount nobody
// has the address; with one and an error the method is wrong, or the rest of the
// path.
func (t *table) find(r *http.Request) (*mount, Route, place, *fault.Error) {
	path := r.URL.Path
	var in *mount
	for _, m := range t.mounts {
		rest, ok := strings.CutPrefix(path, strings.TrimSuffix(m.Path, "/"))
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		if in == nil || in.Path == m.Path {
			in = m
		}
		for _, at := range m.places(rest) {
			if route, ok := m.route(r.Method, at.path); ok {
				return m, route, at, nil
			}
		}
	}
	err := fault.New(fault.NoRoute, "no source takes %s %s", r.Method, clip(path, 200))
	if in == nil {
		return nil, Route{}, place{}, err
	}
	return in, Route{}, place{path: strings.TrimPrefix(path, in.Path)}, err
}

// places returns how the rest of a path can be read: with a token in front, if
// the source may have one there, and without.
func (m *mount) places(rest string) []place {
	rest = strings.TrimSuffix(rest, "/")
	whole := place{path: rest}
	if len(m.Token) == 0 || m.TokenIn != "" && m.TokenIn != "path" {
		return []place{whole}
	}
	token, after, more := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	if more {
		after = "/" + after
	}
	return []place{whole, {path: after, token: token}}
}

// route finds the route of a method and path. Both paths are without a slash at
// the end.
func (m *mount) route(method, path string) (Route, bool) {
	for _, route := range m.Source.Routes() {
		if route.Method == method && strings.TrimSuffix(route.Path, "/") == path {
			return route, true
		}
	}
	return Route{}, false
}

// tokenFits reports whether the request has the source's token, if there is one.
func (m *mount) tokenFits(r *http.Request, at place) bool {
	if len(m.Token) == 0 {
		return true
	}
	kind, name, _ := strings.Cut(m.TokenIn, ":")
	given := ""
	switch kind {
	case "path":
		given = at.token
	case "bearer":
		given = Bearer(r.Header)
	case "basic":
		user, password, _ := Basic(r.Header)
		if given = password; given == "" {
			given = user
		}
	case "header":
		given = r.Header.Get(name)
	case "query":
		given = r.URL.Query().Get(name)
	default:
		for _, one := range []string{Bearer(r.Header), at.token, r.URL.Query().Get("access_token")} {
			if one != "" {
				given = one
				break
			}
		}
	}
	return Known(m.Token, given)
}

// request returns the source's view of the request, without a body.
func (m *mount) request(r *http.Request, route Route, at place) *Request {
	path := route.Path
	if route.Method == "" {
		path = at.path
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil && query == nil {
		query = url.Values{}
	}
	if kind, name, _ := strings.Cut(m.TokenIn, ":"); kind == "query" {
		query.Del(name) // A source may take what is there for an event.
	} else {
		query.Del("access_token")
	}
	return &Request{
		Method: r.Method, Path: path, Header: r.Header, Query: query, At: time.Now().UTC(), Token: len(m.Token) > 0,
	}
}

// overQuota returns the error of a source that has sent n events too many.
func (m *mount) overQuota(n int) *fault.Error {
	wait := time.Duration((float64(n) - m.limiter.Tokens()) / float64(m.limiter.Limit()) * float64(time.Second))
	return Later(fault.QuotaExhausted, max(wait, 0), "the source %s sends more than its quota of %g events a second",
		m.Settings.Name, float64(m.limiter.Limit()))
}

// charge takes n events off the quota, or none.
func (m *mount) charge(n int) *fault.Error {
	if m.limiter == nil || n == 0 {
		return nil
	}
	n = min(n, m.limiter.Burst()) // A batch may be larger; nothing may wait for ever.
	if !m.limiter.AllowN(time.Now(), n) {
		return m.overQuota(n)
	}
	return nil
}

// allowOrigin lets the browser of an allowed page send, and reports whether the
// request was only the browser's question.
func (m *mount) allowOrigin(h http.Header, r *http.Request) (preflight bool) {
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(m.Origins, origin) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Add("Vary", "Origin")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "POST, GET")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Content-Encoding")
	h.Set("Access-Control-Max-Age", "600")
	return true
}

// clip returns the beginning of the text, in whole characters.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "")
}
