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

// everything is the list of stores of the Storage domain.
const everything = "all"

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
	origin := u.Scheme + "://" + u.Host
	sent := []waiter{begin(t.session, storage.ClearDataForOrigin, storage.ClearDataForOriginParams{Origin: origin, StorageTypes: everything})}
	keys := []string{origin + "/", origin + "/^31"}
	for _, site := range t.room.sites() {
		if !sameSite(u, site) {
			keys = append(keys, origin+"/^0"+site)
		}
	}
	var live []waiter
	for _, key := range keys {
		sent = append(sent, begin(t.session, storage.ClearDataForStorageKey, storage.ClearDataForStorageKeyParams{StorageKey: key, StorageTypes: everything}))
		for _, page := range t.room.open() {
			live = append(live, begin(page.session, domstorage.Clear, domstorage.ClearParams{
				StorageID: &domstorage.StorageID{StorageKey: domstorage.SerializedStorageKey(key), IsLocalStorage: false},
			}))
		}
	}
	if err := all(ctx, sent...); err != nil {
		return err
	}
	for _, f := range live {
		// A page without a frame of the origin says that there is none.
		_ = f.finish(ctx)
	}
	return nil
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
