package vault_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/vault"
)

// thief reads along what goes to a token endpoint and comes from it. He has the
// client's secret too.
type thief struct {
	t      testing.TB
	victim http.RoundTripper

	mu      sync.Mutex // guards the fields below
	address string
	form    url.Values // of the last request
	header  http.Header
	stolen  []string // refresh tokens, the newest last
}

// RoundTrip passes the request on.
func (s *thief) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPost || r.Body == nil || !strings.HasSuffix(r.URL.Path, "token") {
		return s.victim.RoundTrip(r)
	}
	sent, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	_ = r.Body.Close()
	r.Body = io.NopCloser(bytes.NewReader(sent))
	answer, err := s.victim.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	_ = answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(got))
	s.note(r, sent, got)
	return answer, nil
}

func (s *thief) note(r *http.Request, sent, got []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	form, err := url.ParseQuery(string(sent))
	if err != nil {
		s.t.Error(err)
	}
	s.address, s.form, s.header = r.URL.String(), form, r.Header.Clone()
	var pair struct {
		Refresh string `json:"refresh_token"`
	}
	if json.Unmarshal(got, &pair) == nil && pair.Refresh != "" {
		s.stolen = append(s.stolen, pair.Refresh)
	}
}

// use has the thief turn a stolen refresh token into an access token. back is
// how many tokens it is behind the newest. He gets "" when he is refused.
func (s *thief) use(client *http.Client, back int) string {
	s.t.Helper()
	s.mu.Lock()
	form := url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {s.stolen[len(s.stolen)-1-back]},
		"client_id": s.form["client_id"], "client_secret": s.form["client_secret"],
	}
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.address, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header = s.header.Clone()
	s.mu.Unlock()
	answer, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var pair struct {
		Access string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&pair); err != nil {
		s.t.Fatal(err)
	}
	return pair.Access
}

// TestATokenIsStolen has a thief use a refresh token: the present one before we
// do, and one that we used before. The vendor ends the grant at the second use of
// a token. From then on the thief has nothing, and ours is never dead in silence:
// it needs new consent, which is told once, without asking the vendor again and
// again.
func TestATokenIsStolen(t *testing.T) {
	t.Parallel()
	times := bustest.Count(3, 50)
	for _, way := range []struct {
		name string
		back int // 0: he uses the present token, before us; 1: the one before
	}{{"the present one", 0}, {"a used one", 1}} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, oauth.Options{Life: 30 * time.Minute})
			s := &thief{t: t, victim: w.client.Transport}
			w.vault = w.open(vault.Options{Client: &http.Client{Transport: s}})
			silent, robbed, asked := 0, 0, 0
			for n := range times {
				name := vault.Name{Provider: oauth.HubSpot, Principal: fmt.Sprintf("p%d", n)}
				w.connect(name)
				for range way.back {
					w.clock.push(31 * time.Minute)
					token(t, w.vault, name)
				}
				before := w.count(name, oauth.Reused, oauth.Refused)
				loot := s.use(w.client, way.back)
				if got := loot != ""; got != (way.back == 0) {
					t.Fatalf("the thief got something: %t", got)
				}
				w.clock.push(31 * time.Minute)
				for range 5 { // Many ask. None is served, and the vendor is not asked each time.
					if reason := refused(t, w.vault, name); reason != fault.ReauthNeeded {
						silent++
						t.Errorf("%s: the reason is %s", name.Principal, reason)
					}
				}
				asked = max(asked, w.count(name, oauth.Reused, oauth.Refused)-before)
				if loot != "" && w.vendor.Valid(name.Provider, loot) {
					robbed++
				}
				if w.show(name).State != vault.ReauthNeeded {
					silent++
				}
				w.connect(name)
				w.usable(name, token(t, w.vault, name))
			}
			told := 0
			for _, state := range w.facts.states(t) {
				if state == "reauth_needed" {
					told++
				}
			}
			families, ended := w.vendor.Families(oauth.HubSpot)
			t.Logf("%d thefts: %d silent, %d told, %d thieves with a token, the vendor asked at most %d times each; %d of %d families ended",
				times, silent, told, robbed, asked, ended, families)
			if silent != 0 || robbed != 0 || told != times || ended != times || asked > 3 {
				t.Error("a theft is to end for the thief, and to be told once")
			}
		})
	}
}
