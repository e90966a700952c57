package browser

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/domstorage"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/storage"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// MaxStorage is how many bytes of names and values a [Storage] may have.
	MaxStorage = 2 << 20
	// readTries is how often the stores are read: a document may go away
	// meanwhile.
	readTries = 3
)

// errMoved says that a document went away while its stores were read.
var errMoved = errors.New("a document of the tab went away")

// Storage returns what the tab's browser context has stored: its cookies, and
// the stores of each document that is there. What [Request.Storage] brought for
// a frame that has not come yet is in it too. It does not stop the page, which
// may go on to write. A storage of more than MaxStorage bytes is refused with
// payload_too_large; its cookies are returned even so.
func (t *Tab) Storage(ctx context.Context) (Storage, error) {
	var s Storage
	jar, err := call(ctx, t.room.proc.root, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: t.room.id})
	if err != nil {
		return s, fmt.Errorf("reading the cookies: %w", t.unread(ctx, err))
	}
	for _, c := range jar.Cookies {
		if !c.PartitionKeyOpaque { // No later context has that partition.
			s.Cookies = append(s.Cookies, cookieOf(c))
		}
	}
	for range readTries {
		if s.Origins, err = t.origins(ctx); !errors.Is(err, errMoved) {
			break
		}
	}
	if err != nil {
		return Storage{Cookies: s.Cookies}, fmt.Errorf("reading the stores: %w", t.unread(ctx, err))
	}
	if err := s.check(); err != nil {
		return Storage{Cookies: s.Cookies}, err
	}
	return s, nil
}

// unread classifies why something could not be read.
func (t *Tab) unread(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return t.overdue(ctx)
	}
	if errors.Is(err, errMoved) {
		return fault.New(fault.PageNavigated, "the page goes from one document to the next").Because(err)
	}
	return t.lost(err)
}

// check says that the storage is too large, or nil.
func (s Storage) check() error {
	size := 0
	for _, c := range s.Cookies {
		size += len(c.Name) + len(c.Value)
	}
	for _, o := range s.Origins {
		for _, area := range []map[string]string{o.Local, o.Session} {
			for name, value := range area {
				size += len(name) + len(value)
			}
		}
	}
	if size > MaxStorage {
		return fault.New(fault.TooLarge, "the session has stored %d bytes, more than %d", size, MaxStorage).
			WithFix("nothing to do: the session goes on without what its page had stored")
	}
	return nil
}

// origins reads the stores of the documents that are there.
func (t *Tab) origins(ctx context.Context) ([]Origin, error) {
	asked, err := t.stores(ctx)
	if err != nil {
		return nil, err
	}
	var list []Origin
	for _, a := range asked {
		if a.Local, err = a.local.items(ctx); err != nil {
			return nil, err
		}
		if a.Session, err = a.session.items(ctx); err != nil {
			return nil, err
		}
		if len(a.Local)+len(a.Session) > 0 {
			list = append(list, a.Origin)
		}
	}
	for _, f := range t.waiting() {
		list = append(list, f.Origin)
	}
	return list, nil
}

// A reading is an origin whose stores were asked for.
type reading struct {
	Origin

	local, session area
}

// area is one store that was asked for.
type area future[domstorage.GetDOMStorageItemsResult]

func (a area) items(ctx context.Context) (map[string]string, error) {
	got, err := future[domstorage.GetDOMStorageItemsResult](a).wait(ctx)
	if err != nil {
		return nil, moved(err)
	}
	if len(got.Entries) == 0 {
		return nil, nil //nolint:nilnil // Nothing is stored, and that is no error.
	}
	items := make(map[string]string, len(got.Entries))
	for _, e := range got.Entries {
		if len(e) == 2 {
			items[e[0]] = e[1]
		}
	}
	return items, nil
}

// moved turns what the browser says of a frame that is gone into errMoved.
func moved(err error) error {
	if refused(err) || errors.Is(err, errDetached) {
		return fmt.Errorf("%w: %w", errMoved, err)
	}
	return err
}

// stores asks for the stores of each document, once for those that share them.
func (t *Tab) stores(ctx context.Context) ([]reading, error) {
	type tree struct {
		session *session
		frames  future[page.GetFrameTreeResult]
	}
	var trees []tree
	for _, s := range t.sessions() {
		trees = append(trees, tree{s, begin(s, page.GetFrameTree, cdp.Empty{})})
	}
	type document struct {
		session *session
		key     future[storage.GetStorageKeyResult]
	}
	var documents []document
	top := ""
	for _, tr := range trees {
		got, err := tr.frames.wait(ctx)
		if err != nil {
			return nil, moved(err)
		}
		for _, f := range flat(got.FrameTree) {
			if string(f.ID) == string(t.target) {
				top = siteOf(f)
			}
			documents = append(documents, document{tr.session, begin(tr.session, storage.GetStorageKey, storage.GetStorageKeyParams{FrameID: f.ID})})
		}
	}
	var list []reading
	seen := map[storage.SerializedStorageKey]bool{}
	for _, d := range documents {
		got, err := d.key.wait(ctx)
		if err != nil {
			return nil, moved(err)
		}
		o, stores := parseKey(string(got.StorageKey), top)
		if !stores || seen[got.StorageKey] {
			continue
		}
		seen[got.StorageKey] = true
		ask := func(local bool) area {
			return area(begin(d.session, domstorage.GetDOMStorageItems, domstorage.GetDOMStorageItemsParams{
				StorageID: &domstorage.StorageID{StorageKey: domstorage.SerializedStorageKey(got.StorageKey), IsLocalStorage: local},
			}))
		}
		list = append(list, reading{o, ask(true), ask(false)})
	}
	return list, nil
}

// flat returns the frames of the tree that have an origin of their own.
func flat(tree *page.FrameTree) []*cdp.Frame {
	if tree == nil || tree.Frame == nil {
		return nil
	}
	var list []*cdp.Frame
	if u, err := url.Parse(tree.Frame.SecurityOrigin); err == nil && u.Host != "" {
		list = append(list, tree.Frame)
	}
	for _, child := range tree.ChildFrames {
		list = append(list, flat(child)...)
	}
	return list
}

// parseKey reads Chromium's name of a store: an origin, and what divides it.
// Stores that nobody finds again, as those of a frame without credentials, do
// not count. top is the site of the top frame.
func parseKey(key, top string) (o Origin, stores bool) {
	origin, division, _ := strings.Cut(key, "^")
	o = Origin{Origin: strings.TrimSuffix(origin, "/"), Top: top}
	switch {
	case division == "":
	case division == "31":
		o.Crossed = true
	case strings.HasPrefix(division, "0") && !strings.Contains(division, "^"):
		o.Top = division[1:]
	default:
		return Origin{}, false
	}
	return o, o.Origin != "" && o.Top != ""
}

func cookieOf(c *network.Cookie) Cookie {
	ours := Cookie{
		Name: c.Name, Value: c.Value, Domain: c.Domain, Path: c.Path,
		HTTPOnly: c.HTTPOnly, Secure: c.Secure, SameSite: string(c.SameSite),
	}
	if !c.Session && c.Expires > 0 {
		ours.Expires = time.UnixMicro(int64(c.Expires * 1e6)).UTC()
	}
	if c.PartitionKey != nil {
		ours.Top, ours.Crossed = c.PartitionKey.TopLevelSite, c.PartitionKey.HasCrossSiteAncestor
	}
	return ours
}

// param returns the cookie as the browser takes it. A cookie of one host alone
// is set by an address, for it has no domain.
func (c Cookie) param() *network.CookieParam {
	p := &network.CookieParam{
		Name: c.Name, Value: c.Value, Path: c.Path,
		HTTPOnly: c.HTTPOnly, Secure: c.Secure, SameSite: network.CookieSameSite(c.SameSite),
	}
	if strings.HasPrefix(c.Domain, ".") {
		p.Domain = c.Domain
	}
	p.URL = "https://" + strings.TrimPrefix(c.Domain, ".") + c.Path
	if !c.Expires.IsZero() {
		p.Expires = cdp.TimeSinceEpoch(float64(c.Expires.UnixMicro()) / 1e6)
	}
	if c.Top != "" {
		p.PartitionKey = &network.CookiePartitionKey{TopLevelSite: c.Top, HasCrossSiteAncestor: c.Crossed}
	}
	return p
}
