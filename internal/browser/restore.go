package browser

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/storage"

	"github.com/parley-chat/parley/internal/fault"
)

//go:embed restore.js
var restoreText string

// filler is the binding, in the isolated world only, that says which filling's
// document has come.
const filler = "__parleyFilled"

// A filling is what an origin had stored, and is to have again. Its script waits
// in every session of the tab until a document of the origin has come.
type filling struct {
	Origin

	source string
	number string
	done   bool                               // the document has come
	in     map[*session]page.ScriptIdentifier // where the script is
}

// fillings returns one for each origin that has something.
func fillings(s *Storage) []*filling {
	var list []*filling
	for i, o := range s.Origins {
		if len(o.Local)+len(o.Session) > 0 {
			list = append(list, &filling{Origin: o, source: o.source(i), number: strconv.Itoa(i), in: map[*session]page.ScriptIdentifier{}})
		}
	}
	return list
}

// source returns the script that fills the origin's stores. The data is in it as
// one literal of a JSON text.
func (o Origin) source(number int) string {
	raw, err := json.Marshal(struct {
		Origin  string      `json:"origin"`
		Top     string      `json:"top"`
		Crossed bool        `json:"crossed"`
		Local   [][2]string `json:"local"`
		Session [][2]string `json:"session"`
		Number  int         `json:"number"`
	}{o.Origin, o.Top, o.Crossed, pairs(o.Local), pairs(o.Session), number})
	if err != nil {
		return "" // Never: strings always have a JSON form.
	}
	return strings.TrimSuffix(restoreText, "\n") + "(" + literal(string(raw)) + ");"
}

// pairs returns the entries as a list, in which no name means anything.
func pairs(m map[string]string) [][2]string {
	list := make([][2]string, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, [2]string{name, m[name]})
	}
	return list
}

// literal returns the text as a literal of JavaScript that is plain ASCII, and
// holds neither a quote nor a line's end nor a tag.
func literal(text string) string {
	var b strings.Builder
	b.Grow(len(text) + len(text)/4)
	b.WriteByte('"')
	for _, r := range text {
		if r >= ' ' && r <= '~' && !strings.ContainsRune("\"\\<>&'`", r) {
			b.WriteByte(byte(r))
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// restore puts the storage into the tab's browser context. The cookies are
// there when it returns; the stores are filled by scripts, which were sent.
func (t *Tab) restore(ctx context.Context, s *Storage) ([]waiter, error) {
	if s == nil || s.Empty() {
		return nil, nil
	}
	jar := t.room.setCookies(s.Cookies)
	list := fillings(s)
	t.mu.Lock()
	t.fillings = list
	t.mu.Unlock()
	sent := t.plant(t.session, list)
	limited, cancel := context.WithTimeoutCause(ctx, prepareLimit, fault.New(fault.PageLoadFailed, "the browser took no cookies within %s", prepareLimit))
	defer cancel()
	if err := t.room.tasted(limited, s.Cookies, jar); err != nil {
		return nil, fmt.Errorf("restoring the cookies: %w", t.lost(err))
	}
	return sent, nil
}

// plant adds the scripts of the fillings to the session, and lets them speak.
func (t *Tab) plant(s *session, list []*filling) []waiter {
	if len(list) == 0 {
		return nil
	}
	sent := []waiter{
		begin(s, runtime.Enable, cdp.Empty{}), // Else the binding is nowhere.
		begin(s, runtime.AddBinding, runtime.AddBindingParams{Name: filler, ExecutionContextName: world}),
	}
	for _, f := range list {
		params := page.AddScriptToEvaluateOnNewDocumentParams{Source: f.source, WorldName: world}
		sent = append(sent, beginThen(s, page.AddScriptToEvaluateOnNewDocument, params, func(r page.AddScriptToEvaluateOnNewDocumentResult) {
			t.mu.Lock()
			late := f.done
			if !late {
				f.in[s] = r.Identifier
			}
			t.mu.Unlock()
			if late {
				uproot(s, r.Identifier)
			}
		}))
	}
	return sent
}

func uproot(s *session, id page.ScriptIdentifier) {
	begin(s, page.RemoveScriptToEvaluateOnNewDocument, page.RemoveScriptToEvaluateOnNewDocumentParams{Identifier: id})
}

// waiting returns the fillings whose document has not come.
func (t *Tab) waiting() []*filling {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.fillings)
}

// onFilled takes note of a document whose stores were filled. From now on they
// are the page's: a page that empties them must not find them full after its
// next load.
func (t *Tab) onFilled(e runtime.EventBindingCalled) {
	type script struct {
		session *session
		id      page.ScriptIdentifier
	}
	var scripts []script
	t.mu.Lock()
	t.fillings = slices.DeleteFunc(t.fillings, func(f *filling) bool {
		if e.Name != filler || f.number != e.Payload {
			return false
		}
		f.done = true
		for s, id := range f.in {
			scripts = append(scripts, script{s, id})
		}
		return true
	})
	t.mu.Unlock()
	for _, s := range scripts {
		uproot(s.session, s.id)
	}
	if len(scripts) == 0 {
		t.onNoise()
	}
}

// setCookies begins to set the cookies. It is nil when there are none.
func (r *room) setCookies(list []Cookie) waiter {
	params := storage.SetCookiesParams{BrowserContextID: r.id}
	now := time.Now()
	for _, c := range list {
		if c.Expires.IsZero() || c.Expires.After(now) {
			params.Cookies = append(params.Cookies, c.param())
		}
	}
	if len(params.Cookies) == 0 {
		return nil
	}
	return begin(r.proc.root, storage.SetCookies, params)
}

// tasted waits until the cookies are set. The browser refuses all of them for
// one that it does not like, so then each is set alone.
func (r *room) tasted(ctx context.Context, list []Cookie, jar waiter) error {
	if jar == nil {
		return nil
	}
	err := jar.finish(ctx)
	if !refused(err) {
		return err
	}
	var sent []waiter
	for _, c := range list {
		if w := r.setCookies([]Cookie{c}); w != nil {
			sent = append(sent, w)
		}
	}
	bad := 0
	for _, w := range sent {
		if err := w.finish(ctx); refused(err) {
			bad++
		} else if err != nil {
			return err
		}
	}
	r.proc.pool.log.LogAttrs(ctx, slog.LevelWarn, "cookies are not restored", slog.Int("refused", bad), slog.Int("cookies", len(list)))
	return nil
}
