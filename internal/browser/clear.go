package browser

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/domstorage"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
)

// everything is each store of the Storage domain that a page can read back.
// The cache of compiled shaders is not one, and takes longer than all others.
const everything = "file_systems,indexeddb,local_storage,websql,service_workers,cache_storage,interest_groups,shared_storage,storage_buckets,other"

// ClearOrigin removes the cookies and everything that the origin has stored, in
// the session's own browser context: as a page of its own, and as a frame in
// any page that the session has had open. Pages that are open keep running;
// load them again to see them empty.
func (t *Tab) ClearOrigin(ctx context.Context, origin string) error {
	u, _, err := parsePlace(origin)
	if err != nil {
		return err
	}
	origin = u.Scheme + "://" + u.Host
	if err := t.clearStores(ctx, u); err != nil {
		return fmt.Errorf("clearing %s: %w", origin, t.lost(err))
	}
	if err := t.clearCookies(ctx, u); err != nil {
		return fmt.Errorf("clearing the cookies of %s: %w", origin, t.lost(err))
	}
	return nil
}

func (t *Tab) clearStores(ctx context.Context, u *url.URL) error {
	var live []waiter
	for _, key := range t.room.keysOf(u) {
		for _, page := range t.room.open() {
			for _, s := range page.sessions() {
				live = append(live, begin(s, domstorage.Clear, domstorage.ClearParams{
					StorageID: &domstorage.StorageID{StorageKey: domstorage.SerializedStorageKey(key), IsLocalStorage: false},
				}))
			}
		}
	}
	if err := all(ctx, t.clearing(u)...); err != nil {
		return err
	}
	for _, f := range live {
		// A page without a frame of the origin says that there is none.
		_ = f.finish(ctx)
	}
	return nil
}

// clearing begins to empty every store of the origin, but the cookies, in each
// of its divisions.
func (t *Tab) clearing(u *url.URL) []waiter {
	sent := []waiter{begin(t.session, storage.ClearDataForOrigin, storage.ClearDataForOriginParams{
		Origin: u.Scheme + "://" + u.Host, StorageTypes: everything,
	})}
	for _, key := range t.room.keysOf(u)[1:] { // The first is the origin itself.
		sent = append(sent, begin(t.session, storage.ClearDataForStorageKey, storage.ClearDataForStorageKeyParams{StorageKey: key, StorageTypes: everything}))
	}
	return sent
}

// keysOf returns the keys that the origin's storage can have: as a page of its
// own, below a page of another site in its own, and below each site that was
// open.
func (r *room) keysOf(u *url.URL) []string {
	origin := u.Scheme + "://" + u.Host
	keys := []string{origin + "/", origin + "/^31"}
	for _, site := range r.sites() {
		if !sameSite(u, site) {
			keys = append(keys, origin+"/^0"+site)
		}
	}
	return keys
}

// clearCookies removes each cookie that would be sent to the origin.
func (t *Tab) clearCookies(ctx context.Context, u *url.URL) error {
	jar, err := call(ctx, t.room.proc.root, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: t.room.id})
	if err != nil {
		return err
	}
	host := canonical(u.Hostname())
	var sent []waiter
	for _, c := range jar.Cookies {
		domain := strings.TrimPrefix(c.Domain, ".")
		if host != domain && !strings.HasSuffix(host, "."+domain) {
			continue
		}
		sent = append(sent, begin(t.session, network.DeleteCookies, network.DeleteCookiesParams{
			Name: c.Name, Domain: c.Domain, Path: c.Path, PartitionKey: c.PartitionKey,
		}))
	}
	return all(ctx, sent...)
}

// siteOf returns the site of a document in a top frame, as storage is divided
// by it, or "" when it has none.
func siteOf(f *cdp.Frame) string {
	u, err := url.Parse(f.URL)
	if err != nil || u.Host == "" {
		return ""
	}
	if f.DomainAndRegistry != "" {
		return u.Scheme + "://" + f.DomainAndRegistry
	}
	return u.Scheme + "://" + u.Hostname()
}

// sameSite reports whether the address belongs to the site. Its storage there
// is not divided by the site then.
func sameSite(u *url.URL, site string) bool {
	host, found := strings.CutPrefix(site, u.Scheme+"://")
	return found && (u.Hostname() == host || strings.HasSuffix(u.Hostname(), "."+host))
}
