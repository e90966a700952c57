package ingest

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/fault"
)

// member is a member of a call that Call reads.
type member int

const (
	callType member = iota
	callMessageID
	callAnonymousID
	callUserID
	callEvent
	callName
	callProperties
	callTraits
	callContext
	callTimestamp
	callOriginal
	callSentAt
	callReceivedAt
	callGroupID
	callPreviousID
	memberCount
)

// String returns the member as the spec spells it.
func (m member) String() string {
	return [memberCount]string{
		"type", "messageId", "anonymousId", "userId", "event", "name", "properties", "traits", "context",
		"timestamp", "originalTimestamp", "sentAt", "receivedAt", "groupId", "previousId",
	}[m]
}

// memberOf returns the member with the spec's spelling, or with a folded one.
func memberOf(name string) (m member, ok bool) {
	switch name {
	case "type":
		return callType, true
	case "messageId", "messageid":
		return callMessageID, true
	case "anonymousId", "anonymousid":
		return callAnonymousID, true
	case "userId", "userid":
		return callUserID, true
	case "event":
		return callEvent, true
	case "name":
		return callName, true
	case "properties":
		return callProperties, true
	case "traits":
		return callTraits, true
	case "context":
		return callContext, true
	case "timestamp":
		return callTimestamp, true
	case "originalTimestamp", "originaltimestamp":
		return callOriginal, true
	case "sentAt", "sentat":
		return callSentAt, true
	case "receivedAt", "receivedat":
		return callReceivedAt, true
	case "groupId", "groupid":
		return callGroupID, true
	case "previousId", "previousid":
		return callPreviousID, true
	}
	return 0, false
}

// fields are the members of a call. name is how the sender spells one, and "" when
// it is not there.
type fields [memberCount]struct {
	name  string
	value any
	exact bool
}

// fold makes the spellings of a name one.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '_' || r == '-' || r == ' ':
			return -1
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return r
	}, name)
}

// fieldsOf returns the members that the spec knows.
func fieldsOf(o Object) (*fields, error) {
	f, clash := &fields{}, false
	for name, value := range o {
		clash = !f.set(name, value) || clash
	}
	if !clash {
		return f, nil
	}
	f = &fields{}
	for _, name := range slices.Sorted(maps.Keys(o)) { // Sorted, so that one call has one error.
		if !f.set(name, o[name]) {
			m, _ := memberOf(fold(name))
			return f, fault.New(fault.SchemaViolation, "contradicts the member %s", f[m].name).At(Pointer(name)).
				WithFix("send %s once, spelled like this", m)
		}
	}
	return f, nil
}

// set notes the member, if it is one that counts. It reports whether the spelling
// does not contradict another one: either of the two may be what is noted then.
func (f *fields) set(name string, value any) bool {
	if value == nil {
		return true
	}
	m, ok := memberOf(name)
	if !ok {
		if m, ok = memberOf(fold(name)); !ok {
			return true
		}
	}
	exact := name == m.String()
	switch {
	case f[m].name == "" || exact:
		f[m].name, f[m].value, f[m].exact = name, value, exact
	case !f[m].exact:
		return reflect.DeepEqual(f[m].value, value)
	}
	return true
}

func (f *fields) text(m member) string {
	switch value := f[m].value.(type) {
	case string:
		return value
	case json.Number:
		return value.String()
	}
	return ""
}

func (f *fields) object(m member) Object {
	object, _ := f[m].value.(Object)
	return object
}

// at returns the pointer of the member as the sender spells it.
func (f *fields) at(m member) string {
	if f[m].name != "" {
		return Pointer(f[m].name)
	}
	return Pointer(m.String())
}

// Loose returns the value of the member whose name is the given one but for case,
// "_", "-" and spaces; nil when there is none. An exact match comes first, then
// the first in alphabetical order.
func (o Object) Loose(path ...string) any {
	var at any = o
	for _, name := range path {
		object, ok := at.(Object)
		if !ok {
			return nil
		}
		at = object.loose(name)
	}
	return at
}

func (o Object) loose(name string) any {
	if value, ok := o[name]; ok {
		return value
	}
	found, key := "", fold(name)
	for other := range o {
		if (found == "" || other < found) && fold(other) == key {
			found = other
		}
	}
	return o[found]
}

// LooseText is Text with names as in Loose.
func (o Object) LooseText(path ...string) string {
	return Object{"": o.Loose(path...)}.Text("")
}
