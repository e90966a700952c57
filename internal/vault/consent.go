package vault

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// consentLife is how long a request for consent may be answered.
	consentLife = 10 * time.Minute
	// DefaultRedirect is where the vendor sends the person's browser back to, with
	// the provider's name behind it. The vendor's settings of the app must have
	// exactly this address.
	DefaultRedirect = "http://127.0.0.1:8976/callback/"
)

// Ask is a request for consent.
type Ask struct {
	Name         Name
	ClientID     string
	ClientSecret Secret
	// Domain is the host to log in at, of a vendor with several.
	Domain string
	// Scopes are what is asked for. Nil means the provider's own list.
	Scopes []string
	// Redirect is the address of the callback, on loopback; "" means
	// DefaultRedirect and the provider's name.
	Redirect string
}

// Consent is a request for consent under way. It listens on loopback until it is
// answered. Exactly one of Wait and Close ends it.
type Consent struct {
	vault    *Vault
	provider Provider
	name     Name
	client   *client
	verifier string
	state    string
	address  string
	scopes   []string
	redirect *url.URL
	until    time.Time

	server *http.Server
	result chan consentResult
	served chan struct{} // closed when the server has ended

	mu   sync.Mutex // guards used
	used bool
}

type consentResult struct {
	connection Connection
	err        error
}

// Ask begins a request for consent: it listens for the vendor's answer.
func (v *Vault) Ask(ctx context.Context, a Ask) (*Consent, error) {
	a.Name = a.Name.Filled()
	if err := a.Name.check(); err != nil {
		return nil, err
	}
	p, err := v.provider(a.Name.Provider)
	if err != nil {
		return nil, err
	}
	if p.Manual() {
		return nil, fault.New(fault.SchemaViolation, "tokens of %s are made by hand", p.Title)
	}
	if a.ClientID == "" {
		return nil, fault.New(fault.SchemaViolation, "the OAuth client has no id").WithFix("register an app at %s, and give its client id", p.Title)
	}
	if a.Scopes == nil {
		a.Scopes = p.Scopes
	}
	c := &Consent{
		vault: v, provider: p, name: a.Name, scopes: slices.Clone(a.Scopes),
		verifier: oauth2.GenerateVerifier(), state: rand.Text() + rand.Text(), until: v.o.Now().Add(consentLife),
		result: make(chan consentResult, 1), served: make(chan struct{}),
	}
	listener, err := c.listen(ctx, a.Redirect)
	if err != nil {
		return nil, err
	}
	c.client = &client{ID: a.ClientID, Domain: a.Domain, Redirect: c.redirect.String()}
	if !a.ClientSecret.IsZero() {
		c.client.Secrets = []string{a.ClientSecret.Reveal()}
	}
	if c.address, err = c.link(); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	c.server = &http.Server{
		Handler: http.HandlerFunc(c.callback), ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 32 << 10,
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	go func() {
		defer close(c.served)
		_ = c.server.Serve(listener) // It ends with Close.
	}()
	return c, nil
}

// listen opens the callback's port. A port of 0 is replaced by a free one.
func (c *Consent) listen(ctx context.Context, redirect string) (net.Listener, error) {
	if redirect == "" {
		redirect = DefaultRedirect + c.provider.Name
	}
	u, err := url.Parse(redirect)
	if err != nil || u.Scheme != "http" || u.Port() == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil ||
		u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback() {
		return nil, fault.New(fault.SchemaViolation, "%q cannot be the address of the callback", redirect).
			WithFix("use an address on this machine, such as %s%s", DefaultRedirect, c.provider.Name)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", u.Host)
	if err != nil {
		return nil, fault.New(fault.BadConfig, "listening for the vendor's answer on %s", u.Host).Because(err).
			WithFix("end what listens there, or give another --redirect, and have it in the vendor's settings of the app")
	}
	if u.Port() == "0" {
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	c.redirect = u
	return listener, nil
}

// link builds the address that the person opens.
func (c *Consent) link() (string, error) {
	domain := c.client.Domain
	if domain == "" {
		domain = c.provider.Domain
	}
	address := strings.ReplaceAll(c.provider.Authorize, "{domain}", domain)
	if _, err := c.provider.at(c.provider.Token, domain, nil); err != nil {
		return "", err
	}
	config := oauth2.Config{ClientID: c.client.ID, RedirectURL: c.client.Redirect, Scopes: c.scopes, Endpoint: oauth2.Endpoint{AuthURL: address}}
	if !c.provider.PKCE {
		return config.AuthCodeURL(c.state), nil
	}
	return config.AuthCodeURL(c.state, oauth2.S256ChallengeOption(c.verifier)), nil
}

// Address is what the person opens in a browser on this machine.
func (c *Consent) Address() string { return c.address }

// Scopes are what the person is asked for.
func (c *Consent) Scopes() []string { return slices.Clone(c.scopes) }

// Redirect returns the address of the callback, as the vendor must know it.
func (c *Consent) Redirect() string { return c.redirect.String() }

// Wait returns the connection when the person has consented, or why not.
func (c *Consent) Wait(ctx context.Context) (Connection, error) {
	defer c.Close(ctx)
	timer := time.NewTimer(consentLife)
	defer timer.Stop()
	select {
	case r := <-c.result:
		return r.connection, r.err
	case <-timer.C:
		return Connection{}, fault.New(fault.ConsentFailed, "nobody consented within %s", consentLife)
	case <-ctx.Done():
		return Connection{}, context.Cause(ctx)
	}
}

// Close stops listening.
func (c *Consent) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if c.server.Shutdown(ctx) != nil {
		_ = c.server.Close()
	}
	<-c.served
}

// callback answers the person's browser. What does not carry our state is
// refused, and changes nothing: the person may still come.
func (c *Consent) callback(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	query := r.URL.Query()
	switch {
	case r.Host != c.redirect.Host || r.URL.Path != c.redirect.Path: // A name that leads here is not ours.
		c.page(w, http.StatusNotFound, "Nothing here", "This page waits for one answer only.")
		return
	case r.Method != http.MethodGet:
		c.page(w, http.StatusMethodNotAllowed, "Not like this", "The answer comes as a page.")
		return
	case len(query["state"]) != 1 || subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(c.state)) != 1:
		c.page(w, http.StatusBadRequest, "Not the answer", "This is not the answer to what was asked. Nothing was connected.")
		return
	}
	if !c.once() {
		c.page(w, http.StatusBadRequest, "Used already", "This answer was used, or came too late. Nothing was connected.")
		return
	}
	connection, err := c.accept(r.Context(), query)
	if err != nil {
		c.page(w, http.StatusBadRequest, "Not connected", fault.From(err).Message)
	} else {
		c.page(w, http.StatusOK, c.provider.Title+" is connected", "You can close this page.")
	}
	c.result <- consentResult{connection, err}
}

// once reports whether this is the first answer, in time.
func (c *Consent) once() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used || c.vault.o.Now().After(c.until) {
		return false
	}
	c.used = true
	return true
}

// accept turns the vendor's answer into a connection.
func (c *Consent) accept(ctx context.Context, query url.Values) (Connection, error) {
	if len(query["iss"]) > 0 && (len(query["iss"]) > 1 || query.Get("iss") != c.issuer()) {
		return Connection{}, fault.New(fault.ConsentFailed, "the answer is not from %s", c.provider.Title)
	}
	if problem := query.Get("error"); problem != "" || len(query["error"]) > 0 {
		if !errorName.MatchString(problem) {
			problem = "no name"
		}
		return Connection{}, fault.New(fault.ConsentFailed, "%s did not give consent: %s", c.provider.Title, problem)
	}
	code := query.Get("code")
	if len(query["code"]) != 1 || code == "" || len(code) > 4096 {
		return Connection{}, fault.New(fault.ConsentFailed, "the answer of %s has no code", c.provider.Title)
	}
	got, err := c.vault.askCode(ctx, c.provider, c.client, code, c.verifier)
	if err != nil {
		reason := fault.New(fault.ConsentFailed, "%s gave no token for the consent", c.provider.Title)
		if said := fault.From(err); said != nil {
			reason = fault.New(fault.ConsentFailed, "%s gave no token for the consent: %s", c.provider.Title, said.Message)
		}
		return Connection{}, reason
	}
	return c.vault.putOAuth(ctx, c.name, c.client, got)
}

func (c *Consent) issuer() string {
	domain := c.client.Domain
	if domain == "" {
		domain = c.provider.Domain
	}
	return strings.ReplaceAll(c.provider.Issuer, "{domain}", domain)
}

// page writes a page for the person. Nothing of the request is in it.
func (c *Consent) page(w http.ResponseWriter, status int, title, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = template.Must(template.New("page").Parse(pageText)).Execute(w, struct{ Title, Text string }{title, text})
}

const pageText = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{.Title}}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:32em;margin:20vh auto;padding:0 1em}</style>
<h1>{{.Title}}</h1><p>{{.Text}}</p></html>
`
