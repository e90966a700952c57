package crm

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/event"
)

// present returns the chat that the time belongs to, or a new one when there is
// none, or the last one is over.
func (v *Visitor) present(in Input, at time.Time) *chat {
	if n := len(v.Chats); n > 0 {
		last := v.Chats[n-1]
		if last.Open || at.Sub(last.LastAt) <= gap {
			return last
		}
		if !last.begun() { // Nobody chatted: it becomes the next one.
			v.Chats = v.Chats[:n-1]
			v.Number--
		}
	}
	v.Number++
	c := &chat{Record: Record{
		Key:  event.DerivedID("chat", v.Site, v.Session, strconv.FormatUint(in.Sequence, 10)),
		Site: v.Site, Session: v.Session, Number: v.Number, StartedAt: at, LastAt: at,
	}}
	v.Chats = append(v.Chats, c)
	return c
}

// begun reports whether somebody chatted, or was asked to.
func (c *chat) begun() bool { return c.Opens > 0 || len(c.Webviews) > 0 }

// happened folds a fact.
func (v *Visitor) happened(in Input) bool {
	f, at := in.fact, in.at()
	switch in.kind {
	case event.FactHibernated, event.FactRestored:
		return false // The tab's life, not the visitor's.
	case event.FactUserUpdated:
		if fromCRM(f.Commands) {
			return false // A CRM said so. It is nothing that the visitor did.
		}
	case event.FactSessionEnded:
		n := len(v.Chats)
		if n == 0 {
			return false
		}
		if c := v.Chats[n-1]; c.Open || !c.Ended {
			return c.end(in)
		}
		return false
	}
	c := v.present(in, at)
	c.touch(in, at)
	c.Provider = in.provider
	switch in.kind {
	case event.FactWidgetOpened:
		c.Ended, c.Why = false, ""
		c.mark(mark{at, true, f.Cause, in.Sequence})
	case event.FactWidgetClosed:
		c.mark(mark{at, false, f.Cause, in.Sequence})
	case event.FactUserUpdated:
		c.Attributes = addNames(c.Attributes, f.Attributes...)
	case event.FactWebviewResponded:
		if len(c.Webviews) < maxWebviews {
			c.Webviews = append(c.Webviews, Webview{at, cut(f.URL), cut(f.Response), small(f.Outputs)})
			slices.SortStableFunc(c.Webviews, func(a, b Webview) int { return a.At.Compare(b.At) })
		}
	}
	return true
}

// did folds a result.
func (v *Visitor) did(in Input) bool {
	r, at := in.result, in.at()
	if strings.HasPrefix(r.CommandSource, "/crm/") {
		return false
	}
	if n := len(v.Chats); n == 0 || !v.Chats[n-1].Open && at.Sub(v.Chats[n-1].LastAt) > gap {
		return false // The facts begin chats.
	}
	c := v.present(in, at)
	c.touch(in, at)
	if c.Actions == nil {
		c.Actions = map[string]int{}
	}
	if key := r.Action + " " + string(r.Status); len(c.Actions) < maxNames || c.Actions[key] > 0 {
		c.Actions[key]++
	}
	if name, ok := strings.CutPrefix(r.CommandSource, "/workflows/"); ok {
		c.Runs = addNames(c.Runs, name)
	}
	return true
}

// touch notes that the chat lived at the time.
func (c *chat) touch(in Input, at time.Time) {
	if at.Before(c.StartedAt) {
		c.StartedAt = at
	}
	if at.After(c.LastAt) {
		c.LastAt = at
	}
	if f := in.fact; f != nil && f.Page != "" && len(c.Pages) < maxPages && !slices.Contains(c.Pages, f.Page) {
		c.Pages = append(c.Pages, cut(f.Page))
	}
}

// end folds the end of the session.
func (c *chat) end(in Input) bool {
	at := in.at()
	c.touch(in, at)
	c.Ended, c.Why = true, in.fact.Why
	if c.Open {
		cause := in.fact.Cause
		if cause == "" {
			cause = event.CauseNavigation
		}
		c.mark(mark{at, false, cause, in.Sequence})
	}
	return true
}

// mark adds an opening or a closing, and computes anew what follows from them.
// Marks that come in another order lead to the same.
func (c *chat) mark(m mark) {
	at, _ := slices.BinarySearchFunc(c.Marks, m, func(a, b mark) int {
		if by := a.At.Compare(b.At); by != 0 {
			return by
		}
		return int(int64(a.Sequence) - int64(b.Sequence)) //nolint:gosec // Neighbours in one stream.
	})
	c.Marks = slices.Insert(c.Marks, at, m)
	c.compute()
	for len(c.Marks) > maxMarks {
		switch {
		case !c.Marks[0].Open:
			c.Marks = c.Marks[1:]
		case c.Marks[1].Open:
			c.Marks = slices.Delete(c.Marks, 1, 2)
		default:
			c.Base += c.Marks[1].At.Sub(c.Marks[0].At).Seconds()
			c.Count++
			c.Marks = c.Marks[2:]
		}
	}
}

// compute derives the times from the marks.
func (c *chat) compute() {
	var since time.Time
	open, seconds, opens := false, c.Base, c.Count
	for _, m := range c.Marks {
		switch {
		case m.Open && !open:
			if opens++; c.OpenedAt.IsZero() || !m.At.After(c.OpenedAt) {
				c.OpenedAt, c.OpenedBy = m.At, m.Cause
			}
			since = m.At
		case !m.Open && open:
			seconds += m.At.Sub(since).Seconds()
			c.ClosedAt, c.ClosedBy = m.At, m.Cause
		}
		open = m.Open
	}
	if c.Open, c.Seconds, c.Opens = open, seconds, opens; open {
		c.ClosedAt, c.ClosedBy = time.Time{}, ""
	}
}

// addNames adds the names that are missing, and keeps them sorted.
func addNames(to []string, names ...string) []string {
	for _, name := range names {
		at, found := slices.BinarySearch(to, name)
		if !found && len(to) < maxNames {
			to = slices.Insert(to, at, cut(name))
		}
	}
	return to
}

// small returns the values with long ones cut.
func small(values map[string]any) map[string]any {
	if len(values) == 0 {
		return nil
	}
	out := map[string]any{}
	for name, value := range values {
		if len(out) < maxTraits {
			out[name] = bounded(value)
		}
	}
	return out
}
