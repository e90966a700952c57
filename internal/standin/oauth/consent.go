package oauth

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// ask is a request for consent that a person looks at.
type ask struct {
	vendor, client, redirect, state, challenge string
	scopes                                     []string
}

// showConsent is the page that a person sees. What an app may not ask for is
// answered here, and never sent to the app's address: that could be anybody's.
func (s *Standin) showConsent(v vendor, w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.clients[v.name], func(c Client) bool { return c.ID == q.Get("client_id") })
	scopes := strings.Fields(q.Get("scope"))
	refused := ""
	switch {
	case at < 0:
		refused = "the app is not known"
	case !slices.Contains(s.clients[v.name][at].Redirects, q.Get("redirect_uri")):
		refused = "the redirect_uri is none of the app's"
	case q.Get("response_type") != "code":
		refused = "the response_type is not code"
	case q.Get("state") == "":
		refused = "there is no state"
	case v.pkce && (q.Get("code_challenge") == "" || q.Get("code_challenge_method") != "S256"):
		refused = "there is no code_challenge of the method S256"
	case len(scopes) == 0 || !allowed(s.clients[v.name][at].Scopes, scopes):
		refused = "the app may not ask for these scopes"
	}
	if refused != "" {
		s.ledger.add(Entry{Vendor: v.name, Kind: Refused, Problem: refused})
		http.Error(w, refused, http.StatusBadRequest)
		return
	}
	ticket := newToken("ask")
	s.asks[ticket] = &ask{v.name, q.Get("client_id"), q.Get("redirect_uri"), q.Get("state"), q.Get("code_challenge"), scopes}
	s.ledger.add(Entry{Vendor: v.name, Kind: Asked, Client: q.Get("client_id")})
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	page, err := template.New("consent").Parse(consentPage)
	if err != nil {
		http.Error(w, "the stand-in cannot write its page", http.StatusInternalServerError)
		return
	}
	_ = page.Execute(w, map[string]any{"Title": v.title, "Client": q.Get("client_id"), "Scopes": scopes, "Ticket": ticket, "Path": v.authorize})
}

const consentPage = `<!doctype html><html lang="en"><meta charset="utf-8"><title>{{.Title}} (stand-in)</title>
<h1>{{.Title}}</h1><p>{{.Client}} asks for:</p><ul>{{range .Scopes}}<li>{{.}}</li>{{end}}</ul>
<form method="post" action="{{.Path}}"><input type="hidden" name="ticket" value="{{.Ticket}}">
<button name="choice" value="allow">Allow</button><button name="choice" value="deny">Deny</button></form></html>
`

func allowed(all, asked []string) bool {
	return all == nil || !slices.ContainsFunc(asked, func(scope string) bool { return !slices.Contains(all, scope) })
}

// takeConsent sends the person back to the app.
func (s *Standin) takeConsent(v vendor, w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.asks[r.PostForm.Get("ticket")]
	delete(s.asks, r.PostForm.Get("ticket"))
	if a == nil || a.vendor != v.name {
		http.Error(w, "nobody asked", http.StatusBadRequest)
		return
	}
	back := url.Values{"state": {a.state}}
	if r.PostForm.Get("choice") == "allow" {
		c := newToken("code")
		s.codes[c] = &code{vendor: v.name, client: a.client, redirect: a.redirect, challenge: a.challenge, scopes: a.scopes, until: s.o.Now().Add(codeLife)}
		back.Set("code", c)
		s.ledger.add(Entry{Vendor: v.name, Kind: Consented, Client: a.client})
	} else {
		back.Set("error", "access_denied")
		s.ledger.add(Entry{Vendor: v.name, Kind: Declined, Client: a.client})
	}
	http.Redirect(w, r, a.redirect+"?"+back.Encode(), http.StatusFound)
}

// Person is somebody with a browser.
type Person struct {
	// Browser reaches the vendors' hosts.
	Browser *http.Client
}

// Answer opens the address of a request for consent, allows or denies it, and
// returns where the vendor sends the person back to. Nobody goes there yet.
func (p Person) Answer(ctx context.Context, address string, allow bool) (string, error) {
	browser := *p.Browser
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	page, _, err := p.fetch(ctx, &browser, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	ticket := regexp.MustCompile(`name="ticket" value="([^"]+)"`).FindStringSubmatch(page)
	if ticket == nil {
		return "", fmt.Errorf("the page has no form: %s", page)
	}
	choice := "deny"
	if allow {
		choice = "allow"
	}
	form := url.Values{"ticket": {ticket[1]}, "choice": {choice}}
	_, to, err := p.fetch(ctx, &browser, http.MethodPost, address, form)
	if err == nil && to == "" {
		err = errors.New("the vendor sends nobody back")
	}
	return to, err
}

func (p Person) fetch(ctx context.Context, browser *http.Client, method, address string, form url.Values) (body, to string, err error) {
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return "", "", fmt.Errorf("asking for the page: %w", err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := browser.Do(r)
	if err != nil {
		return "", "", fmt.Errorf("asking for the page: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return string(text), response.Header.Get("Location"), err
}
