package crm

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// gap is the silence after which a closed chat is over: what comes then is the
	// next one.
	gap = 30 * time.Minute
	// The bounds of what is kept of one visitor.
	maxTraits, maxTrait, maxPages, maxNames, maxWebviews, maxMarks, maxChats, maxHandoffs, maxFormer = 64, 1024, 50, 100, 50, 200, 32, 8, 16
)

// Visitor is all that one target knows of a visitor of a site: who it is, its
// chats, and how far the CRM has them. It is one message of the bus.
type Visitor struct {
	Site    string `json:"site"`
	Session string `json:"session"`
	// Events and Flow are the sequences of the last inputs that were folded.
	Events uint64 `json:"events"`
	Flow   uint64 `json:"flow"`

	Identity event.Visitor  `json:"identity,omitzero"`
	Traits   map[string]any `json:"traits,omitempty"`
	Group    string         `json:"group,omitempty"`
	Consent  *event.Consent `json:"consent,omitempty"`
	// Former are sessions that turned out to be the same person, and Into the
	// session that this one turned out to be.
	Former []string `json:"former,omitempty"`
	Into   string   `json:"into,omitempty"`
	// Erase says that the person is to be forgotten, or was.
	Erase bool `json:"erase,omitempty"`

	FirstAt  time.Time `json:"first_at,omitzero"`
	LastAt   time.Time `json:"last_at,omitzero"`
	Handoffs []Handoff `json:"handoffs,omitempty"`
	// Number counts the chats. The last of Chats is the present one; those before
	// wait to be written.
	Number int     `json:"number,omitempty"`
	Chats  []*chat `json:"chats,omitempty"`

	// Contact is how far the CRM has the contact, and Sent what fields, by name,
	// as digests.
	Contact sending           `json:"contact,omitzero"`
	Sent    map[string]string `json:"sent,omitzero"`
	// Joined counts the former sessions that the CRM knows of.
	Joined int `json:"joined,omitempty"`
	// Theirs are fields that others wrote in the CRM, and of which the visitor was
	// told. Look says that the CRM may have more of them, and Updates counts what was
	// told. Refused is why something could not be, or nil.
	Theirs  map[string]theirs `json:"theirs,omitempty"`
	Look    bool              `json:"look,omitempty"`
	Updates uint64            `json:"updates,omitempty"`
	Refused *Dead             `json:"refused,omitempty"`
	updates []bus.FlowMsg     // to be stored with the visitor
	// Edits are values that a person set when replaying.
	Edits map[string]any `json:"edits,omitempty"`
	// Dirty says that the CRM may not have everything, and Marked that the bus has
	// a message which says so.
	Dirty  bool `json:"dirty,omitempty"`
	Marked bool `json:"marked,omitempty"`
	// Buried says that the bus has a message with what was rejected.
	Buried bool `json:"buried,omitempty"`
}

// sending is how far the CRM has one item.
type sending struct {
	// ID is the vendor's.
	ID string `json:"id,omitempty"`
	// Digest is of what the CRM has, of an activity.
	Digest string `json:"digest,omitempty"`
	// Attempts since the last success, and when the next one is due.
	Attempts int       `json:"attempts,omitempty"`
	Next     time.Time `json:"next,omitzero"`
	Unsure   bool      `json:"unsure,omitempty"`
	Error    string    `json:"error,omitempty"`
	// At is when it was last written.
	At time.Time `json:"at,omitzero"`
	// Lost counts how often the vendor did not have the ID any more.
	Lost int `json:"lost,omitempty"`
	// Dead is why it is not tried any more, or nil.
	Dead *Dead `json:"dead,omitempty"`
}

// Dead is an item that the CRM rejected. It is tried again when the visitor does
// something, or when somebody replays it.
type Dead struct {
	At      time.Time    `json:"at"`
	Reason  fault.Reason `json:"reason"`
	Code    fault.Code   `json:"code"`
	Field   string       `json:"field,omitempty"`
	Message string       `json:"message"`
	Fix     string       `json:"fix,omitempty"`
	// Seq is the state that was rejected, and Digest names what it says.
	Seq    uint64 `json:"seq"`
	Digest string `json:"digest,omitempty"`
}

// chat is a record and what it is computed from.
type chat struct {
	Record
	// Marks are the openings and closings, by time.
	Marks []mark `json:"marks,omitempty"`
	// Base is the open time of marks that were dropped.
	Base  float64 `json:"base,omitempty"`
	Count int     `json:"count,omitempty"` // of openings that were dropped
	sending
}

// mark is an opening or a closing.
type mark struct {
	At       time.Time   `json:"at"`
	Open     bool        `json:"open"`
	Cause    event.Cause `json:"cause,omitempty"`
	Sequence uint64      `json:"n"`
}

// ContactKey is the key of the visitor's contact: that of the session which it
// turned out to be.
func (v *Visitor) ContactKey() string {
	if v.Into != "" {
		return v.Into
	}
	return v.Session
}

// Seq is the number of the visitor's state. It is the same for everybody who
// has folded the same inputs, in whatever order the two streams came together,
// and higher for whoever has folded more.
func (v *Visitor) Seq() uint64 { return v.Events + v.Flow }

// Fold adds an input. It reports whether that changed anything that a CRM may
// hear of. An input that was folded before changes nothing.
func (v *Visitor) Fold(in Input) bool {
	last := &v.Events
	if in.Flow {
		last = &v.Flow
	}
	if in.Sequence <= *last {
		return false
	}
	*last = in.Sequence
	changed := false
	switch {
	case in.trigger != nil:
		changed = v.triggered(in)
	case in.command != nil:
		changed = v.know(in.command.Visitor)
	case in.result != nil:
		changed = v.did(in)
	case in.fact != nil:
		changed = v.happened(in)
	}
	if changed {
		v.seen(in.at())
	}
	return changed
}

func (v *Visitor) seen(at time.Time) {
	if v.FirstAt.IsZero() || at.Before(v.FirstAt) {
		v.FirstAt = at
	}
	if at.After(v.LastAt) {
		v.LastAt = at
	}
}

// triggered folds a trigger: who the visitor is, and what it agreed to.
func (v *Visitor) triggered(in Input) bool {
	t := in.trigger
	if in.kind == event.KindDelete {
		changed := !v.Erase
		v.Erase = true
		return changed
	}
	changed := v.know(t.Visitor)
	if in.kind == event.KindIdentify || in.kind == event.KindAttribute || in.kind == event.KindSubscriber || len(t.Traits) > 0 {
		v.Erase = false // The person is back.
		changed = v.learn(t.Traits) || changed
	}
	if t.Group != "" && t.Group != v.Group {
		v.Group, changed = t.Group, true
	}
	if t.Consent != nil {
		v.Consent, changed = t.Consent, true
	}
	if in.kind == event.KindTakeover && len(v.Handoffs) < maxHandoffs {
		reason, _ := t.Properties["reason"].(string)
		v.Handoffs = append(v.Handoffs, Handoff{At: in.at(), Reason: cut(reason)})
		changed = true
	}
	if t.Previous != nil {
		former := event.SessionKey(v.Site, *t.Previous)
		if former != v.Session && !slices.Contains(v.Former, former) && len(v.Former) < maxFormer {
			v.Former, changed = append(v.Former, former), true
		}
	}
	return changed
}

// know adds what is known of the identity.
func (v *Visitor) know(who event.Visitor) bool {
	before := v.Identity
	if who.UserID != "" {
		v.Identity.UserID = who.UserID
	}
	if who.Email != "" {
		v.Identity.Email = strings.ToLower(strings.TrimSpace(who.Email))
	}
	if who.AnonymousID != "" {
		v.Identity.AnonymousID = who.AnonymousID
	}
	return v.Identity != before
}

// learn adds traits. The later ones win.
func (v *Visitor) learn(traits map[string]any) bool {
	changed := false
	for _, name := range slices.Sorted(maps.Keys(traits)) {
		value := bounded(traits[name])
		if old, known := v.Traits[name]; known && same(old, value) || !known && len(v.Traits) >= maxTraits {
			continue
		}
		if v.Traits == nil {
			v.Traits = map[string]any{}
		}
		v.Traits[name], changed = value, true
	}
	if email, ok := v.Traits["email"].(string); ok && v.Identity.Email == "" {
		v.Identity.Email, changed = strings.ToLower(strings.TrimSpace(email)), true
	}
	return changed
}

// bounded returns the value, cut when it is long.
func bounded(value any) any {
	switch value := value.(type) {
	case string:
		return cut(value)
	case []any:
		return value[:min(len(value), maxTraits)]
	case map[string]any:
		if len(value) > maxTraits {
			return nil
		}
	}
	return value
}

func cut(text string) string {
	if len(text) <= maxTrait {
		return text
	}
	return strings.ToValidUTF8(text[:maxTrait], "")
}

// same reports whether two values of JSON are alike. Maps and lists never are.
func same(a, b any) bool {
	switch a.(type) {
	case map[string]any, []any:
		return false
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}
