package vault

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
)

// Secret is a text that shows itself to nobody: not to a log, not to JSON, not
// to %v. Reveal is the only way to it, so a search for that word finds every
// place where a secret is used. The zero value is no secret.
//
// It is not wiped from memory: Go's collector copies what it likes, and whoever
// can read the process's memory has the key as well.
type Secret struct{ text string }

// NewSecret returns the text as a secret.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text. It goes into a request to its owner, or under a seal,
// and nowhere else.
func (s Secret) Reveal() string { return s.text }

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.text == "" }

// Fingerprint names the secret without telling it: two secrets with the same
// one are the same. "" for none.
func (s Secret) Fingerprint() string {
	if s.text == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("parley secret\x00" + s.text))
	return hex.EncodeToString(sum[:4])
}

// String returns the fingerprint.
func (s Secret) String() string {
	if s.text == "" {
		return "none"
	}
	return "secret " + s.Fingerprint()
}

// Format is String for every verb, those that look into structs too.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue is String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String: JSON shows no secret either.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
