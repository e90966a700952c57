package visitor

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

const (
	// minAnonymous is the fewest characters of an anonymous id: nobody guesses
	// another visitor's.
	minAnonymous = 22
	// proofWithin bounds what a hello needs of the bus.
	proofWithin = 5 * time.Second
)

var errReplayed = errors.New("the nonce is taken")

// greet answers the first frame: it checks who the visitor is, and makes the
// connection his.
func (g *Gateway) greet(c *conn, data []byte) *closing {
	var h wire.Hello
	if err := json.Unmarshal(data, &h); err != nil || h.T != wire.KindHello {
		return &closing{wire.CloseProtocol, "the first frame is a hello"}
	}
	if h.V != wire.Version {
		c.send(wire.Stop{T: wire.KindStop, Reason: "version"})
		return g.refuse(bySite, closing{wire.CloseRefused, "another version of the protocol"})
	}
	if !legalID(h.Life) || !legalID(h.Tab) || len(h.URL) > wire.MaxURL || len(h.Epoch) > wire.MaxID || len(h.AnonymousID) > wire.MaxName {
		return &closing{wire.CloseProtocol, "a hello with fields that are missing or too long"}
	}
	site := g.sites[h.Key]
	if site == nil {
		return g.refuse(bySite, closing{wire.CloseRefused, "no site has this key"})
	}
	if !slices.Contains(site.Origins, c.origin) {
		return g.refuse(byOrigin, closing{wire.CloseRefused, "the site has no such origin"})
	}
	if !site.Config.Enabled {
		c.send(wire.Stop{T: wire.KindStop, Reason: "disabled"})
		return g.refuse(bySite, closing{wire.CloseRefused, "the site is switched off"})
	}
	ctx, cancel := context.WithTimeout(g.life, proofWithin)
	defer cancel()
	v, until, err := g.prove(ctx, site, h)
	if err != nil {
		return g.unproved(ctx, site, err)
	}
	c.site, c.life, c.tab, c.until = site, h.Life, h.Tab, until
	c.url, c.focused, c.stamp = h.URL, h.Focused, g.o.Now().UnixNano()
	return g.welcome(c, v, h)
}

func (g *Gateway) refuse(why refusal, end closing) *closing {
	g.seen.refuse(why)
	return &end
}

// unproved says how a connection ends whose visitor is not proved.
func (g *Gateway) unproved(ctx context.Context, site *Site, err error) *closing {
	if !errors.Is(err, fault.New(fault.NotAuthentic, "")) {
		g.log.LogAttrs(ctx, slog.LevelWarn, "a visitor cannot be let in", slog.String("site", site.Name), slog.Any("err", err))
		return g.refuse(byBus, closing{wire.CloseBusy, "come again"})
	}
	g.log.LogAttrs(ctx, slog.LevelDebug, "a visitor is not let in", slog.String("site", site.Name), slog.Any("err", err))
	why := byIdentity
	if errors.Is(err, errReplayed) {
		why = byReplay
	}
	return g.refuse(why, closing{wire.CloseToken, fault.From(err).Message})
}

// prove finds out who the visitor is: whom the customer's backend says, else
// whom the token was given to, else somebody whom nobody knows. The second value
// is when that lapses.
func (g *Gateway) prove(ctx context.Context, site *Site, h wire.Hello) (event.Visitor, time.Time, error) {
	switch {
	case h.Identity != "":
		v, until, err := identify(site.Identity, site.Name, h.Identity, g.o.Now())
		if err != nil {
			g.seen.forged.Add(1)
		}
		return v, until, err
	case h.Token != "":
		grant, err := g.tokens.check(site.Name, h.Token)
		if err != nil {
			g.seen.forged.Add(1)
			return event.Visitor{}, time.Time{}, err
		}
		return grant.Visitor, grant.until(), g.use(ctx, grant)
	case len(h.AnonymousID) < minAnonymous:
		return event.Visitor{}, time.Time{}, fault.New(fault.NotAuthentic, "the hello has no token, no identity and no anonymous id")
	}
	return event.Visitor{AnonymousID: h.AnonymousID}, time.Time{}, nil
}

// use uses the token up: of all gateways, one lets one connection in with it.
func (g *Gateway) use(ctx context.Context, grant Grant) error {
	_, err := g.o.Bus.Commit(ctx, []bus.FlowMsg{{
		Subject: event.InboxSubject(event.Key(Source, "token/"+grant.Nonce)), Create: true, TTL: g.o.TokenLife + time.Minute,
	}})
	if errors.Is(err, fault.New(fault.AlreadyStored, "")) {
		return fault.New(fault.NotAuthentic, "the token was used before").Because(errReplayed)
	}
	return err
}

// welcome makes the connection the visitor's, unless he has a better one.
func (g *Gateway) welcome(c *conn, v event.Visitor, h wire.Hello) *closing {
	token, nonce, life, err := g.tokens.issue(c.site.Name, v, c.until)
	if err != nil {
		return &closing{wire.CloseInternal, "no token could be made"}
	}
	var loser *conn
	for ok := false; !ok; { // Until it is not one that was just forgotten.
		c.e = g.hub.entry(c.site, v)
		loser, ok = c.e.attach(c)
	}
	if loser == c {
		return &replaced
	}
	e := c.e
	e.mu.Lock()
	e.nonce, e.consent = nonce, h.Consent
	answer := wire.Welcome{
		T: wire.KindWelcome, V: wire.Version, Token: token, TokenMS: life.Milliseconds(), Session: e.session,
		Epoch: e.epoch, Resume: h.Epoch == e.epoch, N: e.life(c.life).stored, Config: &c.site.Config,
	}
	claims := e.claim(g.o.Name)
	e.mu.Unlock()
	c.greeted.Store(true)
	g.seen.opened.Add(1)
	if h.Epoch != "" || h.Token != "" {
		g.seen.returned.Add(1)
	}
	g.hold(e) // Before the page hears: whoever it tells finds it.
	c.reply(text(answer))
	if loser != nil {
		loser.close(replaced)
	}
	g.announce(e, claims)
	return nil
}

// announce tells the other gateways that the visitor is here.
func (g *Gateway) announce(e *entry, claims claim) {
	body, err := json.Marshal(claims)
	if err == nil {
		err = g.tabs.Claim(e.site.Name, e.session, body)
	}
	if err != nil {
		g.log.LogAttrs(g.life, slog.LevelWarn, "other gateways do not hear of a connection", slog.String("session", e.session), slog.Any("err", err))
	}
}

// claimed gives a connection up whose visitor has a better one at another
// gateway, or says that ours is better.
func (g *Gateway) claimed(site, session string, body []byte) {
	var theirs claim
	if json.Unmarshal(body, &theirs) != nil || theirs.Gateway == g.o.Name {
		return
	}
	e := g.hub.find(site, session)
	if e == nil {
		return
	}
	e.mu.Lock()
	c := e.conn
	var ours claim
	if c != nil {
		ours = e.claim(g.o.Name)
	}
	e.mu.Unlock()
	switch {
	case c == nil:
	case theirs.beats(ours):
		if e.detach(c, g.o.Now()) { // At once: who asks for him is to find the other one.
			g.hold(e)
		}
		c.close(replaced)
	default:
		g.announce(e, ours)
	}
}

// legalID reports whether the text can name a document, a tab or a call.
func legalID(text string) bool {
	if text == "" || len(text) > wire.MaxID {
		return false
	}
	for _, r := range text {
		if r < '!' || r > '~' {
			return false
		}
	}
	return true
}
