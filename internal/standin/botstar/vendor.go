package botstar

import (
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"time"
)

// A vendor is the state behind the widget: who the visitors are, and which
// frames are theirs. What reaches it goes to the ledger.
type vendor struct {
	options Options
	ledger  *Ledger

	mu       sync.Mutex // guards the fields below, and keeps the ledger in order
	throttle Throttle
	visitors memory[*visitor]
	byID     memory[*visitor] // by the vendor's own id
	frames   memory[*frame]
}

// A visitor is one record of a person in one app.
type visitor struct {
	id        string // the user_id or the anonymous id
	anonymous bool
	app       string
	channel   string // "" is the website
	profile   Profile
	updates   []time.Time // the applied updates within the window, oldest first
}

// A frame is one load of the widget's document.
type frame struct {
	app, mode, page string
	visitor         *visitor
	next            int // the number of the report that comes next
	early           map[int]report
}

func newVendor(o Options, l *Ledger) *vendor {
	return &vendor{options: o, ledger: l, visitors: newMemory[*visitor](o.Keep), byID: newMemory[*visitor](o.Keep), frames: newMemory[*frame](o.Keep)}
}

func (v *vendor) limit(t Throttle) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if t.Limit == 0 {
		t.Limit = updateLimit
	}
	if t.Window == 0 {
		t.Window = updateWindow
	}
	v.throttle = t
}

// boot takes a frame's request for its bot.
func (v *vendor) boot(q question) {
	v.mu.Lock()
	defer v.mu.Unlock()
	who := v.visitorOf(q.AppID, q.UserID, q.AnonymousID)
	who.profile.learn(q.User, q.Variables)
	f := &frame{app: q.AppID, mode: q.Mode, page: q.Host.Href, visitor: who, next: 1}
	v.frames.put(q.Instance, f)
	e := v.entry(q.Instance, f, Booted)
	e.Block, e.Attributes, e.Variables = q.Block, q.User, q.Variables
	v.ledger.add(e)
}

// refuse notes a request for an app that is not published.
func (v *vendor) refuse(q question) {
	v.ledger.add(Entry{
		Kind: Refused, At: v.options.Now(), AppID: q.AppID, Instance: q.Instance, Mode: q.Mode, Page: q.Host.Href,
		Visitor: q.UserID + q.AnonymousID, Anonymous: q.UserID == "",
	})
}

// hear takes a frame's reports. A report that overtook others waits for them.
// It reports whether the frame is known.
func (v *vendor) hear(instance string, reports []report) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	f, ok := v.frames.get(instance)
	if !ok {
		return false
	}
	for _, r := range reports {
		if r.Seq < f.next {
			continue
		}
		if f.early == nil {
			f.early = map[int]report{}
		}
		f.early[r.Seq] = r
	}
	for {
		r, ok := f.early[f.next]
		if !ok {
			return true
		}
		delete(f.early, f.next)
		f.next++
		v.record(instance, f, r)
	}
}

func (v *vendor) record(instance string, f *frame, r report) {
	switch r.Type {
	case "open", "close":
		kind := Opened
		if r.Type == "close" {
			kind = Closed
		}
		e := v.entry(instance, f, kind)
		e.Cause = r.Cause
		v.ledger.add(e)
	case "message":
		e := v.entry(instance, f, Messaged)
		e.Text = r.Text
		v.ledger.add(e)
	case "update":
		v.update(instance, f, r)
	}
}

func (v *vendor) update(instance string, f *frame, r report) {
	kind := Ignored
	if v.allowed(f.visitor) {
		kind = Updated
		if id, ok := r.Attributes["user_id"].(string); ok && id != "" && id != f.visitor.id {
			f.visitor = v.switchTo(f.app, id)
		}
		f.visitor.profile.learn(r.Attributes, r.Variables)
	}
	e := v.entry(instance, f, kind)
	e.Attributes, e.Variables = r.Attributes, r.Variables
	v.ledger.add(e)
}

// allowed reports whether the visitor may update now, and counts the call if so.
func (v *vendor) allowed(who *visitor) bool {
	now := v.options.Now()
	who.updates = slices.DeleteFunc(who.updates, func(at time.Time) bool { return now.Sub(at) >= v.throttle.Window })
	if len(who.updates) >= v.throttle.Limit {
		return false
	}
	who.updates = append(who.updates, now)
	return true
}

// respond takes a webview's response. The instance is that of the frame that
// opened the page, or "" for a page that was opened by itself.
func (v *vendor) respond(r webviewReport) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := Entry{Kind: Responded, At: v.options.Now()}
	if f, ok := v.frames.get(r.Instance); ok {
		e = v.entry(r.Instance, f, Responded)
	}
	e.Webview, e.Response, e.Outputs, e.Outlet = r.Webview, r.Response, r.Outputs, r.Outlet
	v.ledger.add(e)
}

// visitorOf returns the record of the person, making one if there is none.
func (v *vendor) visitorOf(app, userID, anonymousID string) *visitor {
	key, id := app+" u "+userID, userID
	if userID == "" {
		key, id = app+" a "+anonymousID, anonymousID
	}
	if who, ok := v.visitors.get(key); ok {
		return who
	}
	who := &visitor{id: id, anonymous: userID == "", app: app, profile: Profile{ID: vendorID()}}
	v.visitors.put(key, who)
	v.byID.put(who.profile.ID, who)
	return who
}

func (v *vendor) entry(instance string, f *frame, kind Kind) Entry {
	return Entry{
		At: v.options.Now(), Kind: kind, AppID: f.app, Visitor: f.visitor.id, Anonymous: f.visitor.anonymous,
		Instance: instance, Mode: f.mode, Page: f.page, After: f.visitor.profile,
	}
}

// vendorID returns a fresh id of the vendor's form.
func vendorID() string {
	hex := make([]byte, 0, 36)
	for _, c := range strings.ToLower(rand.Text() + rand.Text())[:32] {
		switch len(hex) {
		case 8, 13, 18, 23:
			hex = append(hex, '-')
		}
		hex = append(hex, "0123456789abcdef"[c%16])
	}
	return "s" + string(hex)
}

// A memory keeps the values that were put last, up to a limit.
type memory[V any] struct {
	limit  int
	values map[string]V
	order  []string
}

func newMemory[V any](limit int) memory[V] { return memory[V]{limit: limit, values: map[string]V{}} }

func (m *memory[V]) get(key string) (V, bool) {
	value, ok := m.values[key]
	return value, ok
}

func (m *memory[V]) put(key string, value V) {
	if _, ok := m.values[key]; !ok {
		m.order = append(m.order, key)
	}
	m.values[key] = value
	if len(m.order) > m.limit {
		delete(m.values, m.order[0])
		m.order = m.order[1:]
	}
}
