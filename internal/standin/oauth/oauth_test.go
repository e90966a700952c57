package oauth_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/standin"
	"github.com/parley-chat/parley/internal/standin/oauth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	id, secret, back = "app", "app-secret", "http://127.0.0.1:1/callback"
	// The example of RFC 7636, appendix B.
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// rig is the servers, and an app that speaks to them by hand.
type rig struct {
	t      *testing.T
	s      *oauth.Standin
	client *http.Client
	now    time.Time
}

func newRig(t *testing.T, o oauth.Options) *rig {
	t.Helper()
	r := &rig{t: t, now: time.Now()}
	o.Now = func() time.Time { return r.now }
	o.Clients = map[string][]oauth.Client{}
	for _, vendor := range []string{oauth.HubSpot, oauth.Salesforce, oauth.Pipedrive} {
		o.Clients[vendor] = []oauth.Client{{ID: id, Secrets: []string{secret}, Redirects: []string{back}}}
	}
	r.s = oauth.New(o)
	hosts := r.s.Hosts()
	hosts[oauth.BotStarHost] = r.s.BotStarAPI()
	server, err := standin.Start(slog.New(slog.DiscardHandler), hosts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	r.client = server.Client()
	t.Cleanup(r.client.CloseIdleConnections)
	return r
}

// call is a request; body is what came back.
func (r *rig) call(method, address string, form url.Values, header http.Header) (int, map[string]any) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	maps.Copy(request.Header, header)
	response, err := r.client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	var body map[string]any
	_ = json.Unmarshal(text, &body)
	return response.StatusCode, body
}

const hubspotToken = "https://api.hubapi.com/oauth/2026-03/token"

func (r *rig) hubspot(form url.Values) (int, map[string]any) {
	r.t.Helper()
	full := url.Values{"client_id": {id}, "client_secret": {secret}}
	maps.Copy(full, form)
	return r.call(http.MethodPost, hubspotToken, full, nil)
}

// authorize is the address of a request for consent of HubSpot.
func authorize(change url.Values) string {
	q := url.Values{
		"client_id": {id}, "redirect_uri": {back}, "response_type": {"code"}, "state": {"s"}, "scope": {"oauth crm.objects.contacts.read"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	maps.Copy(q, change)
	return "https://app.hubspot.com/oauth/authorize?" + q.Encode()
}

// code gets a code.
func (r *rig) code() string {
	r.t.Helper()
	to, err := oauth.Person{Browser: r.client}.Answer(r.t.Context(), authorize(nil), true)
	if err != nil {
		r.t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil || u.Query().Get("state") != "s" || !strings.HasPrefix(to, back+"?") {
		r.t.Fatalf("sent back to %s: %v", to, err)
	}
	return u.Query().Get("code")
}

func (r *rig) exchange(change url.Values) (int, map[string]any) {
	r.t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "redirect_uri": {back}, "code_verifier": {verifier}}
	maps.Copy(form, change)
	if !form.Has("code") {
		form.Set("code", r.code())
	}
	return r.hubspot(form)
}

func (r *rig) refresh(token any) (int, map[string]any) {
	r.t.Helper()
	text, _ := token.(string)
	return r.hubspot(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {text}})
}

// TestRotation: each refresh token serves once, and the second use ends
// everything that came from the consent.
func TestRotation(t *testing.T) {
	t.Parallel()
	r := newRig(t, oauth.Options{})
	status, first := r.exchange(nil)
	if status != 200 || first["expires_in"] != float64(1800) || first["hub_id"] != float64(4711) || first["refresh_token"] == "" {
		t.Fatalf("%d: %v", status, first)
	}
	status, second := r.refresh(first["refresh_token"])
	if status != 200 || second["refresh_token"] == first["refresh_token"] {
		t.Fatalf("%d: %v", status, second)
	}
	access, _ := second["access_token"].(string)
	if !r.s.Valid(oauth.HubSpot, access) || r.s.Valid(oauth.Pipedrive, access) {
		t.Error("the token is good elsewhere, or not here")
	}
	status, again := r.refresh(first["refresh_token"])
	if status != 400 || again["error"] != "invalid_grant" || again["status"] != "BAD_REFRESH_TOKEN" || again["error_description"] == "" {
		t.Errorf("the second use: %d: %v", status, again)
	}
	if r.s.Valid(oauth.HubSpot, access) {
		t.Error("the family lives on")
	}
	if status, _ := r.refresh(second["refresh_token"]); status != 400 {
		t.Error("the newest refresh token is good yet")
	}
	ledger := r.s.Ledger()
	if ledger.Count(oauth.HubSpot, oauth.Reused) != 1 || ledger.Count(oauth.HubSpot, oauth.FamilyRevoked) != 1 || ledger.Count(oauth.HubSpot, oauth.Refreshed) != 1 {
		t.Errorf("the ledger: %+v", ledger.Entries(oauth.HubSpot))
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	r := newRig(t, oauth.Options{})
	_, got := r.exchange(nil)
	access, _ := got["access_token"].(string)
	r.now = r.now.Add(29 * time.Minute)
	if !r.s.Valid(oauth.HubSpot, access) || r.s.Expired(oauth.HubSpot, access) {
		t.Error("it ended early")
	}
	r.now = r.now.Add(2 * time.Minute)
	if !r.s.Expired(oauth.HubSpot, access) || r.s.Expired(oauth.Pipedrive, access) || r.s.Expired(oauth.HubSpot, "x") {
		t.Error("it has not expired, or what is not known has")
	}
	status, body := r.call(http.MethodGet, "https://api.hubapi.com/account-info/v3/details", nil, http.Header{"Authorization": {"Bearer " + access}})
	if status != 401 || body["category"] != "INVALID_AUTHENTICATION" {
		t.Errorf("after its end: %d %v", status, body)
	}
	code := r.code()
	r.now = r.now.Add(2 * time.Minute)
	if status, body := r.exchange(url.Values{"code": {code}}); status != 400 || body["error"] != "invalid_grant" {
		t.Errorf("an old code: %d %v", status, body)
	}
}

// TestBadExchanges: what the token endpoint refuses.
func TestBadExchanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, oauth.Options{})
	used := r.code()
	if status, _ := r.exchange(url.Values{"code": {used}}); status != 200 {
		t.Fatal("the good one is refused")
	}
	for what, test := range map[string]struct {
		change url.Values
		status int
		name   string
	}{
		"another verifier":   {url.Values{"code_verifier": {verifier + "x"}}, 400, "invalid_grant"},
		"no verifier":        {url.Values{"code_verifier": nil}, 400, "invalid_grant"},
		"another redirect":   {url.Values{"redirect_uri": {back + "/"}}, 400, "invalid_grant"},
		"no redirect":        {url.Values{"redirect_uri": nil}, 400, "invalid_grant"},
		"a made-up code":     {url.Values{"code": {"x"}}, 400, "invalid_grant"},
		"the code again":     {url.Values{"code": {used}}, 400, "invalid_grant"},
		"another secret":     {url.Values{"client_secret": {"x"}}, 401, "invalid_client"},
		"another client":     {url.Values{"client_id": {"x"}}, 401, "invalid_client"},
		"another grant type": {url.Values{"grant_type": {"password"}}, 400, "unsupported_grant_type"},
		"twice":              {url.Values{"grant_type": {"authorization_code", "authorization_code"}}, 400, "invalid_request"},
	} {
		if status, body := r.exchange(test.change); status != test.status || body["error"] != test.name {
			t.Errorf("%s: %d %v", what, status, body)
		}
	}
	if status, body := r.call(http.MethodPost, hubspotToken+"?client_secret="+secret, nil, nil); status != 400 || body["error"] != "invalid_request" {
		t.Errorf("a secret in the address: %d %v", status, body)
	}
	// The code that came twice ended what it had given.
	if _, ended := r.s.Families(oauth.HubSpot); ended != 1 {
		t.Errorf("%d families ended", ended)
	}
}

func TestBadRequestsForConsent(t *testing.T) {
	t.Parallel()
	r := newRig(t, oauth.Options{})
	for what, change := range map[string]url.Values{
		"another client":    {"client_id": {"x"}},
		"another redirect":  {"redirect_uri": {back + "x"}},
		"a longer redirect": {"redirect_uri": {back + "/../evil"}},
		"no state":          {"state": nil},
		"no challenge":      {"code_challenge": nil},
		"a plain challenge": {"code_challenge_method": {"plain"}},
		"the implicit flow": {"response_type": {"token"}},
		"no scope":          {"scope": nil},
	} {
		if to, err := (oauth.Person{Browser: r.client}).Answer(t.Context(), authorize(change), true); err == nil {
			t.Errorf("%s: sent back to %s", what, to)
		}
	}
	to, err := oauth.Person{Browser: r.client}.Answer(t.Context(), authorize(nil), false)
	if err != nil || !strings.Contains(to, "error=access_denied") || strings.Contains(to, "code=") {
		t.Errorf("denied: %s, %v", to, err)
	}
}

// TestVendorsDiffer: who authenticates the client how, and what is in answers.
func TestVendorsDiffer(t *testing.T) {
	t.Parallel()
	r := newRig(t, oauth.Options{})
	basic := http.Header{}
	request := &http.Request{Header: basic}
	request.SetBasicAuth(id, secret)
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}
	inBody := url.Values{"client_id": {id}, "client_secret": {secret}, "grant_type": {"refresh_token"}, "refresh_token": {"x"}}
	for _, test := range []struct {
		address string
		form    url.Values
		header  http.Header
		name    string
	}{
		{"https://oauth.pipedrive.com/oauth/token", form, basic, "invalid_grant"},
		{"https://oauth.pipedrive.com/oauth/token", inBody, nil, "invalid_client"},
		{"https://login.salesforce.com/services/oauth2/token", inBody, nil, "invalid_grant"},
		{"https://login.salesforce.com/services/oauth2/token", form, basic, "invalid_client"},
		{hubspotToken, form, basic, "invalid_client"},
	} {
		if _, body := r.call(http.MethodPost, test.address, test.form, test.header); body["error"] != test.name {
			t.Errorf("%s: %v", test.address, body)
		}
	}
	token := r.s.Issue()
	for bearer, want := range map[string]int{"Bearer " + token: 200, "Bearer" + token: 401, "Bearer x": 401, token: 401} {
		if status, _ := r.call(http.MethodGet, "https://apis.botstar.com/v1/bots", nil, http.Header{"Authorization": {bearer}}); status != want {
			t.Errorf("%.8s: %d, want %d", bearer, status, want)
		}
	}
	r.s.Withdraw(token)
	if r.s.Valid(oauth.BotStar, token) {
		t.Error("a withdrawn token is good")
	}
}

func TestRevokeAndIntrospect(t *testing.T) {
	t.Parallel()
	r := newRig(t, oauth.Options{})
	_, got := r.exchange(nil)
	access, _ := got["access_token"].(string)
	ask := func() any {
		_, body := r.call(http.MethodPost, hubspotToken+"/introspect", url.Values{"client_id": {id}, "client_secret": {secret}, "token": {access}}, nil)
		return body["active"]
	}
	if ask() != true {
		t.Error("it is not active")
	}
	refresh, _ := got["refresh_token"].(string)
	for range 2 { // RFC 7009: an unknown token is no error.
		if status, _ := r.call(http.MethodPost, hubspotToken+"/revoke", url.Values{"client_id": {id}, "client_secret": {secret}, "token": {refresh}}, nil); status != 200 {
			t.Errorf("revoking: %d", status)
		}
	}
	if ask() != false {
		t.Error("it is active")
	}
}

// TestFaults: each switch does what it says, and the ledger tells whether the
// server did the work.
func TestFaults(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct {
		fault     oauth.Fault
		status    int
		refreshed int
	}{
		"refused before":  {oauth.Fault{Status: 502}, 502, 0},
		"lost afterwards": {oauth.Fault{After: 502}, 502, 1},
		"a web page":      {oauth.Fault{Page: true}, 403, 0},
		"busy":            {oauth.Fault{Busy: true}, 400, 0},
		"slow":            {oauth.Fault{Slow: 5 * time.Millisecond}, 200, 1},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, oauth.Options{})
			_, got := r.exchange(nil)
			r.s.Set(oauth.HubSpot, oauth.Faults{Token: test.fault.Times(1)})
			if status, _ := r.refresh(got["refresh_token"]); status != test.status {
				t.Errorf("the status is %d", status)
			}
			if n := r.s.Ledger().Count(oauth.HubSpot, oauth.Refreshed); n != test.refreshed {
				t.Errorf("%d refreshes", n)
			}
			want := 200
			if test.refreshed == 1 { // The app has the old one, which is used up.
				want = 400
			}
			if status, _ := r.refresh(got["refresh_token"]); status != want {
				t.Errorf("afterwards: %d, want %d", status, want)
			}
		})
	}
}

func TestHangingAnswerIsCommitted(t *testing.T) {
	t.Parallel()
	r := newRig(t, oauth.Options{})
	_, got := r.exchange(nil)
	r.s.Set(oauth.HubSpot, oauth.Faults{Token: oauth.Fault{Hang: true}.Times(1)})
	ctx, cancel := context.WithCancel(t.Context())
	refresh, _ := got["refresh_token"].(string)
	form := url.Values{"client_id": {id}, "client_secret": {secret}, "grant_type": {"refresh_token"}, "refresh_token": {refresh}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, hubspotToken, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	failed := make(chan error, 1)
	go func() {
		response, err := r.client.Do(request)
		if err == nil {
			err = response.Body.Close()
		}
		failed <- err
	}()
	err = r.s.Ledger().Wait(t.Context(), oauth.HubSpot, func([]oauth.Entry) bool { return r.s.Ledger().Count(oauth.HubSpot, oauth.Refreshed) == 1 })
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-failed; err == nil {
		t.Error("it was answered")
	}
}

// TestPrivateApps: a token that was made by hand works at the API, tells whose it
// is, and ends by hand. The token of an app with consent is none.
func TestPrivateApps(t *testing.T) {
	t.Parallel()
	r := newRig(t, oauth.Options{})
	const inspect, probe = "https://api.hubapi.com/oauth/v2/private-apps/get/access-token-info", "https://api.hubapi.com/account-info/v3/details"
	token := r.s.IssuePrivate("crm.objects.contacts.read")
	ask := func(token string) (int, map[string]any) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, inspect, strings.NewReader(`{"tokenKey":"`+token+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		response, err := r.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		var body map[string]any
		_ = json.NewDecoder(response.Body).Decode(&body)
		return response.StatusCode, body
	}
	status, body := ask(token)
	scopes, _ := body["scopes"].([]any)
	if status != http.StatusOK || body["hubId"] != float64(4711) || len(scopes) != 1 || !strings.HasPrefix(token, "pat-eu1") {
		t.Errorf("%d %v", status, body)
	}
	bearer := http.Header{"Authorization": {"Bearer " + token}}
	if status, _ := r.call(http.MethodGet, probe, nil, bearer); status != http.StatusOK {
		t.Errorf("the API answers %d", status)
	}
	for _, other := range []string{"", "pat-eu1-nobody", r.s.Issue()} {
		if status, _ := ask(other); status != http.StatusUnauthorized {
			t.Errorf("of %.8q it tells: %d", other, status)
		}
	}
	r.s.Withdraw(token)
	if status, _ := ask(token); status != http.StatusUnauthorized {
		t.Errorf("of a token that ended it tells: %d", status)
	}
	if status, _ := r.call(http.MethodGet, probe, nil, bearer); status != http.StatusUnauthorized {
		t.Errorf("the API takes a token that ended: %d", status)
	}
}
