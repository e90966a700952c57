package visitor

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// config answers with what a page is told about its site. It holds no secret, so
// any page may read it.
func (g *Gateway) config(w http.ResponseWriter, r *http.Request) {
	key, ok := strings.CutSuffix(r.PathValue("key"), ".json")
	site := g.sites[key]
	if !ok || site == nil {
		http.NotFound(w, r)
		return
	}
	body, err := json.Marshal(site.Config)
	if err != nil {
		http.Error(w, "the configuration cannot be written", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "public, max-age=60")
	h.Set("Content-Type", "application/json")
	_, _ = w.Write(body) // Who does not hear it asks again.
}

// file answers with a file of the snippet. Its name holds the hash of what it
// holds, so that it may be kept for ever.
func (g *Gateway) file(w http.ResponseWriter, r *http.Request) {
	if g.o.File == nil {
		g.files.ServeHTTP(w, r)
		return
	}
	body, media, ok := g.o.File(r.PathValue("name"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*") // For subresource integrity.
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Type", media)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // As above.
}

// health says whether the gateway works.
func (g *Gateway) health(w http.ResponseWriter, r *http.Request) {
	if err := g.o.Bus.Healthy(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n") // As above.
}

// beacon takes what a page says when it goes. Nothing is answered: a beacon
// that is not good is dropped, and counted.
func (g *Gateway) beacon(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusNoContent)
	ip, now := g.address(r), g.o.Now()
	if !g.connect.take(ip, now) {
		g.seen.flooded.Add(1)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, wire.MaxBeacon))
	var b wire.Beacon
	if err != nil || json.Unmarshal(body, &b) != nil || b.V != wire.Version || !legalID(b.Life) || len(b.Signals)+len(b.Tracks) > wire.MaxUnacked {
		g.seen.malformed.Add(1)
		return
	}
	site := g.sites[b.Key]
	if site == nil || !slices.Contains(site.Origins, r.Header.Get("Origin")) {
		g.seen.origins.Add(1)
		return
	}
	e, err := g.beaconOf(site, b.Token)
	if err != nil {
		g.seen.forged.Add(1)
		return
	}
	for _, item := range inOrder(b) {
		if !g.ips.take(ip, now) || !g.take(e, b.Life, b.URL, item) { //nolint:contextcheck // It is stored when the request has ended, too.
			g.seen.dropped.Add(1)
		}
	}
}

// beaconOf returns whose beacon has the token. One that has lapsed is good as
// long as its connection is here, or lately was: a page that was open for an hour
// has no newer one.
func (g *Gateway) beaconOf(site *Site, token string) (*entry, error) {
	grant, err := g.tokens.check(site.Name, token)
	if err == nil {
		return g.hub.entry(site, grant.Visitor), nil
	}
	if grant.Nonce == "" {
		return nil, err
	}
	e := g.hub.find(site.Name, event.SessionKey(site.Name, grant.Visitor))
	if e == nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.nonce != grant.Nonce {
		return nil, err
	}
	return e, nil
}

// inOrder returns the signals and tracks of a beacon in their common order.
func inOrder(b wire.Beacon) []item {
	all := make([]item, 0, len(b.Signals)+len(b.Tracks))
	for i := range b.Signals {
		all = append(all, item{n: b.Signals[i].N, signal: &b.Signals[i]})
	}
	for i := range b.Tracks {
		all = append(all, item{n: b.Tracks[i].N, track: &b.Tracks[i]})
	}
	slices.SortStableFunc(all, func(x, y item) int { return int(min(max(x.n-y.n, -1), 1)) })
	return all
}
