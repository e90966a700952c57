package app

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin/shop"
	"github.com/parley-chat/parley/internal/visitor"
	"github.com/parley-chat/parley/internal/visitor/snippet"
)

const (
	// chatHost is where the pages of `worker dev` find the gateway.
	chatHost = "chat.example.test"
	demoKey  = "pk_demo_shop"
	// demoPage is the page that the demo's visitor looks at.
	demoPage = shop.Origin + "/pricing?parley"
)

// entrance is the gateway under a name that pages know. It is there before the
// gateway is.
type entrance struct {
	to atomic.Pointer[visitor.Gateway]
}

// ServeHTTP implements http.Handler.
func (e *entrance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g := e.to.Load(); g != nil {
		g.ServeHTTP(w, r)
		return
	}
	http.NotFound(w, r)
}

// letIn prepares the configuration for visitors of the demo shop: their own tabs
// are reached, and the shop says who is logged in. It returns the identity of the
// demo's visitor.
func letIn(cfg *Config, dir string) (string, error) {
	secret := []byte(rand.Text())
	file, err := filepath.Abs(filepath.Join(dir, "identity.secret"))
	if err != nil {
		return "", fault.New(fault.BadConfig, "finding the demo's directory").Because(err)
	}
	if err := os.WriteFile(file, secret, 0o600); err != nil {
		return "", fault.New(fault.BadConfig, "writing the demo's secret").Because(err)
	}
	cfg.Gateway.Listen, cfg.Gateway.Drain = "127.0.0.1:0", 100*time.Millisecond
	site := cfg.Sites[demoSite]
	site.Visitor.Key, site.Visitor.Identity = demoKey, []Secret{Secret("file:" + file)}
	cfg.Sites[demoSite] = site
	return visitor.SignIdentity(secret, demoSite, event.Visitor{UserID: demoUser}, time.Now().Add(time.Hour))
}

// tagged serves the site's pages with Parley's tag in the place of the vendor's
// own, for those who ask for ?parley: the demo's visitor is who identity says.
func tagged(next http.Handler, identity string) (http.Handler, error) {
	tag, err := snippet.Tag(snippet.Site{Key: demoKey, Gateway: "https://" + chatHost, Provider: "botstar", Consent: snippet.ConsentGiven})
	if err != nil {
		return nil, fmt.Errorf("making the demo's tag: %w", err)
	}
	who, err := json.Marshal(identity)
	if err != nil {
		return nil, fmt.Errorf("making the demo's tag: %w", err)
	}
	stub, rest, _ := strings.Cut(tag, "</script>")
	tag = stub + ";parley.identify(" + string(who) + ")</script>" + rest
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !r.URL.Query().Has("parley") {
			next.ServeHTTP(w, r)
			return
		}
		plain := r.Clone(r.Context())
		plain.Header.Del("Accept-Encoding")
		seen := httptest.NewRecorder()
		next.ServeHTTP(seen, plain)
		page := seen.Body.Bytes()
		if at := bytes.Index(page, []byte("window.BotStar =")); at > 0 {
			from, to := bytes.LastIndex(page[:at], []byte("<script>")), at+bytes.Index(page[at:], []byte("</script>"))+len("</script>")
			page = bytes.Join([][]byte{page[:from], page[to:]}, []byte(tag))
		}
		w.Header().Set("Content-Type", seen.Header().Get("Content-Type"))
		w.WriteHeader(seen.Code)
		_, _ = w.Write(page) // Who has gone needs no page.
	}), nil
}

// person is the demo's visitor: a browser of their own.
type person struct {
	pool *browser.Pool
	tab  *browser.Tab
}

// visit opens the page in a browser that is the visitor's, and none of ours.
func (d *devSystem) visit(ctx context.Context, address string) (_ *person, err error) {
	p := &person{}
	o := browser.Options{
		Binary: d.cfg.Browser.Binary, Dir: d.cfg.Path(d.cfg.Browser.Dir), Processes: 1, Tabs: 2, Spare: -1, Images: true,
		Resolve: d.hosts.Resolve(), TrustSPKI: []string{d.hosts.SPKI()},
	}
	o.Window.Width, o.Window.Height = 1280, 800
	if p.pool, err = browser.New(d.log, o); err != nil {
		return nil, fmt.Errorf("preparing the visitor's browser: %w", err)
	}
	if err = p.pool.Start(ctx); err == nil {
		p.tab, err = p.pool.Open(ctx, browser.Request{
			URL: address, Label: "the demo's visitor", Hosts: slices.Sorted(maps.Keys(d.hosts.Resolve())),
		})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the visitor's page: %w", err), p.pool.Close(context.WithoutCancel(ctx)))
	}
	return p, nil
}

// Close ends the visit.
func (p *person) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return errors.Join(p.tab.Close(ctx), p.pool.Close(ctx))
}

// arrives waits until the visitor's own tab is connected.
func (d *devSystem) arrives(ctx context.Context, site, session string) (visitor.Here, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, demoPatience,
		fault.New(fault.NotConfirmed, "the visitor's tab did not connect within %s", demoPatience).WithFix("-v shows the log"))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		here, there, err := visitor.Find(ctx, d.bus, site, session)
		if there || err != nil && ctx.Err() == nil {
			return here, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return visitor.Here{}, context.Cause(ctx) //nolint:wrapcheck // It says all.
		}
	}
}
