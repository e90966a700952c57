package vault_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/vault"
)

// attack changes the way back from the vendor, as somebody does who wants his
// account connected, or ours.
type attack struct {
	name string
	// on changes the address of the callback; host, when it is not "", is what the
	// browser thinks that it asks.
	on   func(u *url.URL, q url.Values)
	host string
}

// harmless are attacks that the callback refuses without an end of the request:
// the person may still come.
func harmless(foreign, finished string) []attack {
	state := func(change func(good string) []string) func(*url.URL, url.Values) {
		return func(_ *url.URL, q url.Values) { q["state"] = change(q.Get("state")) }
	}
	to := func(path string) func(*url.URL, url.Values) {
		return func(u *url.URL, _ url.Values) { u.Path = path }
	}
	none := func(*url.URL, url.Values) {}
	return []attack{
		{"no state", state(func(string) []string { return nil }), ""},
		{"an empty state", state(func(string) []string { return []string{""} }), ""},
		{"the state twice", state(func(s string) []string { return []string{s, s} }), ""},
		{"another state first", state(func(s string) []string { return []string{"x", s} }), ""},
		{"another state last", state(func(s string) []string { return []string{s, "x"} }), ""},
		{"a shorter state", state(func(s string) []string { return []string{s[:len(s)-1]} }), ""},
		{"a longer state", state(func(s string) []string { return []string{s + "A"} }), ""},
		{"another letter", state(func(s string) []string { return []string{"0" + s[1:]} }), ""},
		{"small letters", state(func(s string) []string { return []string{strings.ToLower(s)} }), ""},
		{"space around the state", state(func(s string) []string { return []string{" " + s} }), ""},
		{"a zero behind the state", state(func(s string) []string { return []string{s + "\x00"} }), ""},
		{"the state of another request", state(func(string) []string { return []string{foreign} }), ""},
		{"the state of a finished request", state(func(string) []string { return []string{finished} }), ""},
		{"another vendor's path", to("/callback/salesforce"), ""},
		{"a longer path", to("/callback/hubspot/"), ""},
		{"a shorter path", to("/callback"), ""},
		{"no path", to("/"), ""},
		{"a path with two slashes", to("//callback/hubspot"), ""},
		{"a path with dots", to("/x/../callback/hubspot"), ""},
		{"a path in capitals", to("/CALLBACK/hubspot"), ""},
		{"a name that leads here", none, "evil.example"},
		{"another name of this machine", none, "localhost"},
		{"no port", none, "127.0.0.1"},
	}
}

// fatal are attacks with the right state. They end the request.
func fatal(otherCode, usedCode string) []attack {
	set := func(name string, values ...string) func(*url.URL, url.Values) {
		return func(_ *url.URL, q url.Values) { q[name] = values }
	}
	return []attack{
		{"another issuer", set("iss", "https://evil.example"), ""},
		{"another vendor's issuer", set("iss", "https://login.salesforce.com"), ""},
		{"an empty issuer", set("iss", ""), ""},
		{"two issuers", set("iss", "https://app.hubspot.com", "https://evil.example"), ""},
		{"an error", set("error", "access_denied"), ""},
		{"an empty error", set("error", ""), ""},
		{"an error with a script", set("error", "<script>alert(1)</script>"), ""},
		{"no code", set("code"), ""},
		{"an empty code", set("code", ""), ""},
		{"two codes", func(_ *url.URL, q url.Values) { q["code"] = append(q["code"], otherCode) }, ""},
		{"a made-up code", set("code", "code-made-up"), ""},
		{"a long code", set("code", strings.Repeat("c", 5000)), ""},
		{"the code of another consent", set("code", otherCode), ""}, // PKCE: another verifier.
		{"a code that was used", set("code", usedCode), ""},
	}
}

// change returns the address with the attack on it.
func (a attack) change(back string) string {
	u, err := url.Parse(back)
	if err != nil {
		return ""
	}
	q := u.Query()
	a.on(u, q)
	u.RawQuery = q.Encode()
	return u.String()
}

// TestAttacksOnTheCallback: none of them connects anything, and the person whose
// request it was gets his connection all the same, where it was not his browser
// that was attacked.
func TestAttacksOnTheCallback(t *testing.T) {
	t.Parallel()
	rounds := bustest.Count(5, 50)
	w := newWorld(t, oauth.Options{})
	ours, theirs := vault.Name{Provider: oauth.HubSpot}, vault.Name{Provider: oauth.Salesforce}
	tried, accepted := 0, 0
	finished, usedCode := "gone", "gone"
	for range rounds {
		// Somebody else's request, under way at the same time.
		other, err := w.vault.Ask(t.Context(), vault.Ask{Name: theirs, ClientID: clientID, Redirect: "http://127.0.0.1:0/callback/salesforce"})
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := url.Parse(other.Address())
		if err != nil {
			t.Fatal(err)
		}
		consent := w.ask(ours)
		back := w.consent(consent, true)
		for _, a := range harmless(foreign.Query().Get("state"), finished) {
			tried++
			if status := visit(t.Context(), a.change(back), a.host); status/100 != 4 {
				accepted++
				t.Errorf("%s: answered %d", a.name, status)
			}
		}
		tried++
		if status := post(t.Context(), back); status != http.StatusMethodNotAllowed {
			accepted++
			t.Errorf("a form: answered %d", status)
		}
		if _, err := w.vault.Show(t.Context(), ours.Filled()); !is(err, fault.UnknownConnection) {
			accepted++
			t.Errorf("an attack connected something: %v", err)
		}
		go w.visit(back)
		if _, err := consent.Wait(t.Context()); err != nil {
			t.Errorf("the person himself: %v", err)
		}
		tried++
		if w.visit(back) == http.StatusOK {
			accepted++
			t.Error("the answer served twice")
		}
		u, err := url.Parse(back)
		if err != nil {
			t.Fatal(err)
		}
		finished, usedCode = u.Query().Get("state"), u.Query().Get("code")
		other.Close(t.Context())
		w.forget(ours)
	}
	w.fatalAttacks(rounds, ours, usedCode, &tried, &accepted)
	t.Logf("%d attacks, %d accepted", tried, accepted)
}

func (w *world) fatalAttacks(rounds int, ours vault.Name, usedCode string, tried, accepted *int) {
	w.t.Helper()
	for range rounds {
		for i := range fatal("", "") {
			stranger := w.ask(ours)
			u, err := url.Parse(w.consent(stranger, true))
			if err != nil {
				w.t.Fatal(err)
			}
			stranger.Close(w.t.Context())
			consent := w.ask(ours)
			back := w.consent(consent, true)
			a := fatal(u.Query().Get("code"), usedCode)[i]
			go w.visit(a.change(back))
			*tried++
			if _, err := consent.Wait(w.t.Context()); !is(err, fault.ConsentFailed) || strings.Contains(err.Error(), "script") {
				*accepted++
				w.t.Errorf("%s: %v", a.name, err)
			}
			if _, err := w.vault.Show(w.t.Context(), ours.Filled()); !is(err, fault.UnknownConnection) {
				*accepted++
				w.t.Errorf("%s connected something: %v", a.name, err)
				w.forget(ours)
			}
		}
	}
}

// forget removes the connection from the store.
func (w *world) forget(name vault.Name) {
	w.t.Helper()
	entry, found, err := w.store.Get(w.t.Context(), vault.Key(name))
	if err != nil || !found {
		return
	}
	if err := w.store.Remove(w.t.Context(), entry.Key, entry.Revision); err != nil {
		w.t.Error(err)
	}
}

func post(ctx context.Context, address string) int {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
	if err != nil {
		return 0
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// TestConsentServesOnce: of two answers at the same moment, one is taken.
func TestConsentServesOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	name := vault.Name{Provider: oauth.HubSpot}
	consent := w.ask(name)
	back := w.consent(consent, true)
	statuses := make([]int, 8)
	var all sync.WaitGroup
	for i := range statuses {
		all.Go(func() { statuses[i] = w.visit(back) })
	}
	if _, err := consent.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	all.Wait()
	if n := len(slices.DeleteFunc(statuses, func(s int) bool { return s != http.StatusOK })); n != 1 {
		t.Errorf("%d answers were taken", n)
	}
	if w.count(name, oauth.Exchanged) != 1 || w.count(name, oauth.Reused) != 0 {
		t.Errorf("%d exchanges", w.count(name, oauth.Exchanged))
	}
}

func TestConsentEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	name := vault.Name{Provider: oauth.Pipedrive}
	// The person says no.
	consent := w.ask(name)
	go w.visit(w.consent(consent, false))
	if _, err := consent.Wait(t.Context()); !is(err, fault.ConsentFailed) || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("denied: %v", err)
	}
	// The person comes too late.
	consent = w.ask(name)
	back := w.consent(consent, true)
	w.clock.push(11 * time.Minute)
	if status := w.visit(back); status != http.StatusBadRequest {
		t.Errorf("too late: %d", status)
	}
	consent.Close(t.Context())
	// The command is interrupted.
	consent = w.ask(name)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := consent.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if w.visit(back) != 0 {
		t.Error("somebody listens yet")
	}
}

func TestBadAsks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	good := func() vault.Ask {
		return vault.Ask{Name: vault.Name{Provider: oauth.HubSpot}, ClientID: clientID, Redirect: w.redirect(oauth.HubSpot)}
	}
	for what, change := range map[string]func(a *vault.Ask){
		"no client":               func(a *vault.Ask) { a.ClientID = "" },
		"no vendor":               func(a *vault.Ask) { a.Name.Provider = "nobody" },
		"a vendor without OAuth":  func(a *vault.Ask) { a.Name.Provider = oauth.BotStar },
		"a bad name":              func(a *vault.Ask) { a.Name.Tenant = "A/B" },
		"another machine":         func(a *vault.Ask) { a.Redirect = "http://192.0.2.1:8976/callback/hubspot" },
		"every address":           func(a *vault.Ask) { a.Redirect = "http://0.0.0.0:8976/callback/hubspot" },
		"a name":                  func(a *vault.Ask) { a.Redirect = "http://evil.example:8976/callback/hubspot" },
		"a name like ours":        func(a *vault.Ask) { a.Redirect = "http://localhost.evil.example:8976/" },
		"no port":                 func(a *vault.Ask) { a.Redirect = "http://127.0.0.1/callback" },
		"another scheme":          func(a *vault.Ask) { a.Redirect = "https://127.0.0.1:8976/callback" },
		"a query":                 func(a *vault.Ask) { a.Redirect = "http://127.0.0.1:8976/callback?next=x" },
		"a user":                  func(a *vault.Ask) { a.Redirect = "http://127.0.0.1:80@evil.example:8976/" },
		"a host of somebody else": func(a *vault.Ask) { a.Name.Provider, a.Domain = oauth.Salesforce, "evil.example" },
		"a host in disguise": func(a *vault.Ask) {
			a.Name.Provider, a.Domain = oauth.Salesforce, "evil.example/.my.salesforce.com"
		},
	} {
		a := good()
		change(&a)
		if c, err := w.vault.Ask(t.Context(), a); err == nil {
			c.Close(t.Context())
			t.Errorf("%s was taken", what)
		}
	}
}

// TestScopes: what is asked for is the least, and what is missing is told.
func TestScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	for _, p := range vault.Providers() {
		if p.Manual() {
			continue
		}
		consent := w.ask(vault.Name{Provider: p.Name})
		u, err := url.Parse(consent.Address())
		if err != nil {
			t.Fatal(err)
		}
		asked := strings.Fields(u.Query().Get("scope"))
		if !slices.Equal(asked, p.Scopes) || len(asked) == 0 {
			t.Errorf("%s: asked for %v, want %v", p.Name, asked, p.Scopes)
		}
		for _, scope := range asked {
			if slices.Contains([]string{"full", "admin", "crm.export", "web"}, scope) {
				t.Errorf("%s: the scope %s is more than the least", p.Name, scope)
			}
		}
		consent.Close(t.Context())
	}
	name := vault.Name{Provider: oauth.HubSpot}
	consent, err := w.vault.Ask(t.Context(), vault.Ask{
		Name: name, ClientID: clientID, ClientSecret: vault.NewSecret(clientSecret), Redirect: w.redirect(name.Provider), Scopes: []string{"oauth"},
	})
	if err != nil {
		t.Fatal(err)
	}
	go w.visit(w.consent(consent, true))
	if _, err := consent.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if health, err := w.vault.Probe(t.Context(), name); err != nil || health.OK || len(health.Missing) != 2 {
		t.Errorf("probed: %+v, %v", health, err)
	}
}
