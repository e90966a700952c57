// Package shop serves a customer's website for the demo and the tests: a shop
// and its documentation, each with BotStar's own install snippet, and the
// webview pages that the bot opens. Nothing on it knows of Parley.
package shop

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/parley-chat/parley/internal/standin"
)

// The host names of the website.
const (
	Host          = "shop.example.test"
	DocsHost      = "docs.example.test"
	AnalyticsHost = "analytics.example.test"
)

// The app ids that the two sites carry in their snippets.
const (
	AppID     = "s0a1b2c3d-0000-4000-8000-000000000001"
	DocsAppID = "s0a1b2c3d-0000-4000-8000-000000000002"
)

// Origin is the origin of the shop.
const Origin = "https://" + Host

// Shop is the website. It counts its visits, and is safe for use by many
// goroutines.
type Shop struct {
	mu     sync.Mutex // guards the field below
	visits map[string]int
}

// New returns the website, not visited yet.
func New() *Shop { return &Shop{visits: map[string]int{}} }

// Hosts returns the handler of each host name of the website.
func (s *Shop) Hosts() map[string]http.Handler {
	return map[string]http.Handler{
		Host:          s.counted(s.shop()),
		DocsHost:      s.counted(made(docsSite().pages())),
		AnalyticsHost: s.counted(analytics()),
	}
}

// Visits returns how often the path of the host was asked for, as in
// Visits("shop.example.test", "/pricing"). Without a path it returns how often
// anything of the host was.
func (s *Shop) Visits(host, path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.visits[host+path]
}

func (s *Shop) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.visits[r.Host]++
		if len(s.visits) < maxPaths {
			s.visits[r.Host+r.URL.Path]++
		}
		s.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// maxPaths bounds the paths that are counted.
const maxPaths = 10_000

// shop serves the shop's pages, the webview pages under /webview/, and a page
// that never arrives at /never.
func (s *Shop) shop() http.Handler {
	mux, err := shopSite().pages()
	if err != nil {
		return made(nil, err)
	}
	serve(mux, "pages/webview", "/webview/", standin.Revalidate)
	mux.HandleFunc("GET /never", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	return mux
}

// made returns the handler, or one that tells why there is none.
func made(handler http.Handler, err error) http.Handler {
	if err == nil {
		return handler
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, fmt.Sprintf("the shop is closed: %v", err), http.StatusInternalServerError)
	})
}
