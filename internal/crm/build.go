package crm

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// policy says whom a target is told of.
type policy struct {
	sites     []string // none means all
	anonymous bool
	consent   []string
}

// tells reports whether the target may hear of the visitor now, or why not.
func (p policy) tells(v *Visitor) (bool, string) {
	switch {
	case v.Erase:
		return false, "erased"
	case len(p.sites) > 0 && !slices.Contains(p.sites, v.Site):
		return false, "site"
	case !p.anonymous && v.Into == "" && v.Identity.UserID == "" && v.Identity.Email == "":
		return false, "anonymous"
	}
	for _, purpose := range p.consent {
		if flag := v.agreed(purpose); flag == nil || !*flag {
			return false, "consent"
		}
	}
	return true, ""
}

// Purposes returns what a target may ask consent for.
func Purposes() []string {
	return []string{"analytics", "advertising", "functionality", "personalization"}
}

func (v *Visitor) agreed(purpose string) *bool {
	if v.Consent == nil {
		return nil
	}
	switch purpose {
	case "analytics":
		return v.Consent.Analytics
	case "advertising":
		return v.Consent.Advertising
	case "functionality":
		return v.Consent.Functionality
	case "personalization":
		return v.Consent.Personalization
	}
	return nil
}

// record returns the chat as others see it.
func (v *Visitor) record(c *chat) Record {
	r := c.Record
	r.Seq = v.Seq()
	for _, h := range v.Handoffs {
		if !h.At.Before(c.StartedAt.Add(-gap)) && !h.At.After(c.LastAt.Add(gap)) {
			r.Handoff = &h
		}
	}
	return r
}

// vars returns what a mapping sees. The chat may be nil.
func (v *Visitor) vars(c *chat) vars {
	who := map[string]any{}
	for name, value := range map[string]string{"user_id": v.Identity.UserID, "email": v.Identity.Email, "anonymous_id": v.Identity.AnonymousID} {
		if value != "" {
			who[name] = value
		}
	}
	traits := v.Traits
	if traits == nil {
		traits = map[string]any{}
	}
	out := vars{"site": v.Site, "session": v.Session, "visitor": who, "traits": traits, "chats": int64(v.Number), "record": map[string]any{}}
	if v.Group != "" {
		out["group"] = v.Group
	}
	putTime(out, "first_seen_at", v.FirstAt)
	putTime(out, "last_seen_at", v.LastAt)
	if c != nil {
		r := v.record(c)
		of := r.vars()
		of["visitor"], of["traits"] = who, traits
		out["record"] = of
	}
	return out
}

func putTime(to map[string]any, name string, at time.Time) {
	if !at.IsZero() {
		to[name] = at
	}
}

// vars returns the record as a mapping sees it.
func (r *Record) vars() map[string]any {
	out := map[string]any{
		"key": r.Key, "site": r.Site, "session": r.Session, "number": int64(r.Number), "open": r.Open, "ended": r.Ended,
		"opens": int64(r.Opens), "seconds": r.Seconds, "pages": r.Pages, "attributes": r.Attributes, "runs": r.Runs,
		"actions": r.Actions, "seq": int64(r.Seq), //nolint:gosec // It stays below 2^63.
	}
	for name, text := range map[string]string{"provider": r.Provider, "why": r.Why, "opened_by": string(r.OpenedBy), "closed_by": string(r.ClosedBy)} {
		if text != "" {
			out[name] = text
		}
	}
	putTime(out, "opened_at", r.OpenedAt)
	putTime(out, "closed_at", r.ClosedAt)
	putTime(out, "started_at", r.StartedAt)
	putTime(out, "last_at", r.LastAt)
	if r.Handoff != nil {
		out["handoff"] = map[string]any{"at": r.Handoff.At, "reason": r.Handoff.Reason}
	}
	answers := make([]any, len(r.Webviews))
	for i, w := range r.Webviews {
		outputs := w.Outputs
		if outputs == nil {
			outputs = map[string]any{}
		}
		answers[i] = map[string]any{"at": w.At, "url": w.URL, "response": w.Response, "outputs": outputs}
	}
	out["webviews"] = answers
	return out
}

// last returns the newest chat in which somebody chatted, or nil.
func (v *Visitor) last() *chat {
	for _, c := range slices.Backward(v.Chats) {
		if c.begun() {
			return c
		}
	}
	return nil
}

// contact returns the contact with all fields.
func (p *Program) contactOf(v *Visitor) (Contact, error) {
	list, err := fields(p.contact, v.vars(v.last()))
	if err != nil {
		return Contact{}, err
	}
	p.theirs(v, list)
	for i, f := range list {
		if edit, ok := v.Edits[f.Name]; ok {
			list[i].Value = edit
		}
	}
	return Contact{
		Key: v.ContactKey(), ID: v.Contact.ID, Former: v.Former, Mapped: p.written, Email: v.Identity.Email, Seq: v.Seq(), At: v.LastAt,
		Fields: list, Attempt: v.Contact.Attempts + 1, Unsure: v.Contact.Unsure,
	}, nil
}

// activityOf returns the activity of the chat.
func (p *Program) activityOf(v *Visitor, c *chat) (Activity, error) {
	seen := v.vars(c)
	list, err := fields(p.activity, seen)
	if err != nil {
		return Activity{}, err
	}
	subject, _, err := p.subject.eval(seen)
	if err != nil {
		return Activity{}, fault.New(fault.BadConfig, "evaluating the subject").Because(err)
	}
	r := v.record(c)
	at := r.OpenedAt
	if at.IsZero() {
		at = r.StartedAt
	}
	return Activity{
		Key: r.Key, ID: c.ID, Contact: Ref{Key: v.ContactKey(), ID: v.Contact.ID}, Seq: v.Seq(),
		Subject: textOf(subject), Text: r.text(), At: at, End: r.ClosedAt, Fields: list, Record: r,
		Attempt: c.Attempts + 1, Unsure: c.Unsure,
	}, nil
}

// text tells the record in plain lines.
func (r *Record) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if !r.OpenedAt.IsZero() {
		line("Opened %s by %s", r.OpenedAt.Format(time.RFC3339), r.OpenedBy)
	}
	if !r.ClosedAt.IsZero() {
		line("Closed %s by %s", r.ClosedAt.Format(time.RFC3339), r.ClosedBy)
	}
	line("Open for %s", time.Duration(r.Seconds*float64(time.Second)).Round(time.Second))
	if len(r.Pages) > 0 {
		line("Pages: %s", strings.Join(r.Pages, ", "))
	}
	if len(r.Attributes) > 0 {
		line("Attributes: %s", strings.Join(r.Attributes, ", "))
	}
	if r.Handoff != nil {
		line("Asked for a human %s %s", r.Handoff.At.Format(time.RFC3339), r.Handoff.Reason)
	}
	for _, w := range r.Webviews {
		line("Answered %s: %s", w.URL, w.Response)
	}
	if len(r.Runs) > 0 {
		line("Workflows: %s", strings.Join(r.Runs, ", "))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// digestOf names a value, so that it need not be sent again.
func digestOf(value any) string {
	h := fnv.New64a()
	if text, ok := value.(string); ok {
		_, _ = h.Write([]byte("s" + text)) // A hash never fails.
	} else if data, err := json.Marshal(value); err == nil { // What cannot be written is not there.
		_, _ = h.Write(data)
	}
	return strconv.FormatUint(h.Sum64(), 36)
}

// digest names what the activity says.
func (a *Activity) digest() string {
	said := *a
	said.ID, said.Contact.ID, said.Seq, said.Record.Seq, said.Attempt, said.Unsure = "", "", 0, 0, 0, false
	said.Record.LastAt = time.Time{} // It moves with every command and says nothing else.
	return digestOf(said)
}

// changed returns the fields that the CRM does not have in this form.
func (v *Visitor) changed(list []Field) []Field {
	var out []Field
	for _, f := range list {
		if sent, ok := v.Sent[f.Name]; !ok || sent != digestOf(f.Value) {
			out = append(out, f)
		}
	}
	return out
}
