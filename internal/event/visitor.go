package event

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// Visitor is a person on a site. At least one field is set; the first one that
// is set, in this order, is the identity.
type Visitor struct {
	// UserID is the site's own id of the person: the best identity, the same on
	// every device.
	UserID string `json:"user_id,omitempty" jsonschema:"minLength=1,maxLength=256"`
	// Email is used when there is no user id.
	Email string `json:"email,omitempty" jsonschema:"minLength=1,maxLength=320"`
	// AnonymousID names a person whom the site does not know.
	AnonymousID string `json:"anonymous_id,omitempty" jsonschema:"minLength=1,maxLength=256"`
}

// Key returns the identity with its kind in front. It is personal data, and
// never leaves the process as it is: see SessionKey. It is "" for nobody.
func (v Visitor) Key() string {
	switch {
	case v.UserID != "":
		return "u:" + v.UserID
	case v.Email != "":
		return "e:" + strings.ToLower(v.Email)
	case v.AnonymousID != "":
		return "a:" + v.AnonymousID
	}
	return ""
}

// Anonymous reports whether the vendor would forget the visitor.
func (v Visitor) Anonymous() bool { return v.UserID == "" }

// SessionKey returns the opaque name of one visitor on one site: 26 characters
// of lower-case base32, which is one token of a subject and holds nothing
// personal.
func SessionKey(site string, v Visitor) string { return hash(26, site, v.Key()) }

// Key returns the name of the event everywhere: a lower-case base32 hash of
// source and id. It is the message id on the bus and the name of the command's
// effect record.
func Key(source, id string) string { return hash(32, source, id) }

// DerivedID returns an id that follows from its parts, so that doing the same
// thing again names the same thing.
func DerivedID(parts ...string) string { return hash(32, parts...) }

// hash returns the first n characters of the base32 SHA-256 of the parts,
// which are kept apart by NUL.
func hash(n int, parts ...string) string {
	var room [256]byte // enough for most parts, so that they need no allocation
	text := room[:0]
	for i, part := range parts {
		if i > 0 {
			text = append(text, 0)
		}
		text = append(text, part...)
	}
	sum := sha256.Sum256(text)
	// What the padding is made of lies beyond the first 51 characters.
	encoded := base32.StdEncoding.AppendEncode(room[:0], sum[:])[:n]
	for i, c := range encoded {
		if c >= 'A' {
			encoded[i] = c | 0x20
		}
	}
	return string(encoded)
}
