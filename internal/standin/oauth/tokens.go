package oauth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// family is everything that came from one consent.
type family struct {
	vendor, client string
	number         int
	scopes         []string
	ended          bool
	// asking is true while a refresh is being worked on.
	asking bool
}

// grant is one token.
type grant struct {
	token  string
	family *family
	until  time.Time
	// used is true of a refresh token that was replaced, and ended of an access
	// token that was revoked.
	used, ended bool
}

// code is what a person's consent is exchanged with.
type code struct {
	vendor, client, redirect, challenge string
	scopes                              []string
	until                               time.Time
	family                              *family // set when it was used
}

func newToken(kind string) string { return kind + "-" + rand.Text() + rand.Text() }

// mark names a token in the ledger without telling it.
func mark(token string) string {
	if token == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:6])
}

// newFamily must be called with s.mu held.
func (s *Standin) newFamily(vendor, client string, scopes []string) *family {
	f := &family{vendor: vendor, client: client, scopes: scopes, number: len(s.families) + 1}
	s.families[f] = true
	return f
}

// problem is a refusal of the token endpoint.
type problem struct {
	status     int
	name, text string
}

func badGrant(text string) *problem {
	return &problem{http.StatusBadRequest, "invalid_grant", text}
}

// serveToken is the token endpoint.
func (s *Standin) serveToken(v vendor, w http.ResponseWriter, r *http.Request) {
	f := s.spoil(v.name)
	if !f.before(w) {
		s.ledger.add(Entry{Vendor: v.name, Kind: Spoiled})
		return
	}
	form, bad := readForm(r)
	var body map[string]any
	entry := Entry{Vendor: v.name}
	if bad == nil {
		body, entry, bad = s.token(v, f, form, r)
	}
	entry.Vendor = v.name
	if bad != nil {
		entry.Problem = bad.name
		if entry.Kind == "" {
			entry.Kind = Refused
		}
		s.ledger.add(entry)
		s.refuse(v, w, bad)
		return
	}
	s.ledger.add(entry)
	if !f.after(w, r, body) {
		return
	}
	answer(w, http.StatusOK, body)
}

// readForm takes a form in the body only: secrets in an address end in logs.
func readForm(r *http.Request) (url.Values, *problem) {
	if kind := r.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/x-www-form-urlencoded") {
		return nil, &problem{http.StatusBadRequest, "invalid_request", "the body is no form"}
	}
	if r.URL.RawQuery != "" {
		return nil, &problem{http.StatusBadRequest, "invalid_request", "parameters stand in the body"}
	}
	if err := r.ParseForm(); err != nil {
		return nil, &problem{http.StatusBadRequest, "invalid_request", "the form cannot be read"}
	}
	for name, values := range r.PostForm {
		if len(values) > 1 {
			return nil, &problem{http.StatusBadRequest, "invalid_request", "the parameter " + name + " is there twice"}
		}
	}
	return r.PostForm, nil
}

// token does what the form asks for.
func (s *Standin) token(v vendor, f Fault, form url.Values, r *http.Request) (map[string]any, Entry, *problem) {
	app, bad := s.client(v, form, r)
	if bad != nil {
		return nil, Entry{Kind: Refused}, bad
	}
	switch form.Get("grant_type") {
	case "authorization_code":
		return s.exchange(v, f, app, form)
	case "refresh_token":
		return s.rotate(v, f, app, form, r)
	}
	return nil, Entry{Kind: Refused}, &problem{http.StatusBadRequest, "unsupported_grant_type", "there is no such grant type"}
}

// client authenticates the app.
func (s *Standin) client(v vendor, form url.Values, r *http.Request) (Client, *problem) {
	id, secret, header := r.BasicAuth()
	if header {
		id, _ = url.QueryUnescape(id)
		secret, _ = url.QueryUnescape(secret)
	}
	wrong := &problem{http.StatusUnauthorized, "invalid_client", "the client's credentials are wrong"}
	if v.basic != header {
		return Client{}, wrong
	}
	if !v.basic {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, app := range s.clients[v.name] {
		if app.ID != id {
			continue
		}
		for _, good := range app.Secrets {
			if subtle.ConstantTimeCompare([]byte(good), []byte(secret)) == 1 {
				return app, nil
			}
		}
	}
	return Client{}, wrong
}

// exchange turns a code into the first pair.
func (s *Standin) exchange(v vendor, f Fault, app Client, form url.Values) (map[string]any, Entry, *problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.codes[form.Get("code")]
	refused := Entry{Kind: Refused, Client: app.ID}
	switch {
	case c == nil || c.vendor != v.name || c.client != app.ID || s.o.Now().After(c.until):
		return nil, refused, badGrant("the code is invalid or expired")
	case c.family != nil:
		c.family.ended = true // Somebody else has the code, too.
		return nil, Entry{Kind: Reused, Client: app.ID}, badGrant("the code was used")
	case form.Get("redirect_uri") != c.redirect:
		return nil, refused, badGrant("the redirect_uri is not the one of the request")
	case c.challenge != "" && challengeOf(form.Get("code_verifier")) != c.challenge:
		return nil, refused, badGrant("the code_verifier does not fit")
	}
	c.family = s.newFamily(v.name, app.ID, c.scopes)
	body, access := s.pair(v, f, c.family, true)
	return body, Entry{Kind: Exchanged, Client: app.ID, Token: mark(access), Family: c.family.number}, nil
}

// rotate turns a refresh token into the next pair.
func (s *Standin) rotate(v vendor, f Fault, app Client, form url.Values, r *http.Request) (map[string]any, Entry, *problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.refresh[form.Get("refresh_token")]
	entry := Entry{Kind: Refused, Client: app.ID, Token: mark(form.Get("refresh_token"))}
	switch {
	case old == nil || old.family.vendor != v.name || old.family.client != app.ID:
		return nil, entry, badGrant("refresh token is invalid, expired or revoked")
	case old.used:
		entry.Kind = Reused
		if !old.family.ended {
			old.family.ended = true
			s.ledger.add(Entry{Vendor: v.name, Kind: FamilyRevoked, Client: app.ID, Token: entry.Token})
		}
		return nil, entry, badGrant("refresh token is invalid, expired or revoked")
	case old.family.ended:
		return nil, entry, badGrant("refresh token is invalid, expired or revoked")
	case f.Busy || old.family.asking:
		entry.Kind = Busied
		return nil, entry, badGrant("token request is already being processed")
	}
	if f.Slow > 0 {
		old.family.asking = v.name == Salesforce
		s.mu.Unlock()
		waited := wait(r, f.Slow)
		s.mu.Lock()
		old.family.asking = false
		if !waited || old.used || old.family.ended {
			return nil, entry, badGrant("refresh token is invalid, expired or revoked")
		}
	}
	rotates := !s.o.Keep && !f.NoRefresh
	old.used = rotates
	body, access := s.pair(v, f, old.family, rotates)
	entry.Kind, entry.Token, entry.Family = Refreshed, mark(access), old.family.number
	return body, entry, nil
}

// pair makes the tokens of an answer. s.mu is held.
func (s *Standin) pair(v vendor, f Fault, fam *family, refresh bool) (map[string]any, string) {
	life := s.o.Life
	if life == 0 {
		life = v.life
	}
	now := s.o.Now()
	g := &grant{token: newToken("acc"), family: fam, until: now.Add(life)}
	s.access[g.token] = g
	body := map[string]any{"access_token": g.token, "token_type": "bearer", "scope": strings.Join(fam.scopes, " ")}
	maps.Copy(body, v.account)
	if v.legacy {
		delete(body, "scope")
		body["scopes"] = fam.scopes
	}
	switch {
	case f.NoExpiry || v.silent:
	case f.TextExpiry:
		body["expires_in"] = strconv.Itoa(int(life.Seconds()))
	default:
		body["expires_in"] = int(life.Seconds())
	}
	if refresh {
		next := &grant{token: newToken("ref"), family: fam}
		s.refresh[next.token] = next
		body["refresh_token"] = next.token
	}
	return body, g.token
}

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// refuse writes the vendor's error body.
func (s *Standin) refuse(v vendor, w http.ResponseWriter, p *problem) {
	body := map[string]any{"error": p.name, "error_description": p.text}
	if v.legacy {
		body["message"] = p.text
		body["status"] = "BAD_REQUEST"
		if p.name == "invalid_grant" {
			body["status"] = "BAD_REFRESH_TOKEN"
		}
	}
	if v.name == Pipedrive {
		body["success"], body["message"] = false, p.text
	}
	answer(w, p.status, body)
}

// serveRevoke ends a token: of a refresh token everything that came with it.
func (s *Standin) serveRevoke(v vendor, w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	f := s.faults[v.name].Revoke.take()
	s.mu.Unlock()
	if !f.before(w) {
		s.ledger.add(Entry{Vendor: v.name, Kind: Spoiled})
		return
	}
	form, bad := readForm(r)
	app := Client{}
	if bad == nil {
		app, bad = s.client(v, form, r)
	}
	if bad != nil {
		s.ledger.add(Entry{Vendor: v.name, Kind: Refused, Problem: bad.name})
		s.refuse(v, w, bad)
		return
	}
	s.mu.Lock()
	known := false
	if g := s.refresh[form.Get("token")]; g != nil && g.family.client == app.ID {
		known, g.family.ended = true, true
	}
	if g := s.access[form.Get("token")]; g != nil && g.family.client == app.ID {
		known, g.ended = true, true
	}
	s.mu.Unlock()
	s.ledger.add(Entry{Vendor: v.name, Kind: Revoked, Client: app.ID, Token: mark(form.Get("token"))})
	if !known && v.name == Salesforce {
		s.refuse(v, w, &problem{http.StatusBadRequest, "invalid_token", "the token is not known"})
		return
	}
	w.WriteHeader(http.StatusOK)
}

// serveIntrospect tells of a token.
func (s *Standin) serveIntrospect(v vendor, w http.ResponseWriter, r *http.Request) {
	form, bad := readForm(r)
	if bad == nil {
		_, bad = s.client(v, form, r)
	}
	if bad != nil {
		s.refuse(v, w, bad)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	token := form.Get("token")
	if !s.valid(v.name, token) {
		answer(w, http.StatusOK, map[string]any{"active": false})
		return
	}
	g := s.access[token]
	answer(w, http.StatusOK, map[string]any{
		"active": true, "scopes": slices.Clone(g.family.scopes), "expires_in": int(g.until.Sub(s.o.Now()).Seconds()), "exp": g.until.Unix(),
	})
}

// serveInspect tells of a token that was made by hand: whose it is, and what it
// may do. The token of an app with consent is none.
func (s *Standin) serveInspect(v vendor, w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	f := s.faults[v.name].API.take()
	s.mu.Unlock()
	if !f.before(w) {
		s.ledger.add(Entry{Vendor: v.name, Kind: Spoiled})
		return
	}
	var asked struct {
		TokenKey string `json:"tokenKey"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&asked)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || !s.valid(v.name, asked.TokenKey) || s.access[asked.TokenKey].family.client != "" {
		s.ledger.add(Entry{Vendor: v.name, Kind: Denied, Token: mark(asked.TokenKey)})
		answer(w, http.StatusUnauthorized, map[string]any{"status": "error", "message": "the token is not valid", "category": "INVALID_AUTHENTICATION"})
		return
	}
	s.ledger.add(Entry{Vendor: v.name, Kind: Used, Token: mark(asked.TokenKey)})
	answer(w, http.StatusOK, map[string]any{
		"hubId": v.account["hub_id"], "userId": v.account["user_id"], "appId": 815, "scopes": slices.Clone(s.access[asked.TokenKey].family.scopes),
	})
}

// serveProbe is something harmless of the vendor's API.
func (s *Standin) serveProbe(vendor string, w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	f := s.faults[vendor].API.take()
	s.mu.Unlock()
	if !f.before(w) {
		s.ledger.add(Entry{Vendor: vendor, Kind: Spoiled})
		return
	}
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer || !s.Valid(vendor, token) {
		s.ledger.add(Entry{Vendor: vendor, Kind: Denied, Token: mark(token)})
		body := any(map[string]any{"status": "error", "message": "the token is not valid", "category": "INVALID_AUTHENTICATION"})
		if vendor == Salesforce {
			body = []map[string]any{{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}}
		}
		answer(w, http.StatusUnauthorized, body)
		return
	}
	s.ledger.add(Entry{Vendor: vendor, Kind: Used, Token: mark(token)})
	if vendor == BotStar {
		answer(w, http.StatusOK, []any{})
		return
	}
	answer(w, http.StatusOK, map[string]any{"ok": true})
}

func answer(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, "the stand-in cannot write its answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
