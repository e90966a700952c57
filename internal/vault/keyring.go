// Package vault keeps secrets: so far the ring of keys that everything is
// sealed with that leaves the process and is nobody else's business. DESIGN.md
// explains the choices.
package vault

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"slices"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/parley-chat/parley/internal/fault"
)

// The form of something sealed: a version, the id of the key, a random nonce,
// and what XChaCha20-Poly1305 makes of the rest.
const (
	version   = 1
	idSize    = 8
	headSize  = 1 + idSize
	nonceSize = chacha20poly1305.NonceSizeX
	// Overhead is how many bytes sealing adds.
	Overhead = headSize + nonceSize + chacha20poly1305.Overhead
	// KeySize is the bytes of a key.
	KeySize = chacha20poly1305.KeySize
)

// Keyring is a list of keys. The first one seals, and all of them open. It
// never changes, and its methods may be called from many goroutines. It shows
// no key, however it is printed.
type Keyring struct{ keys []key }

type key struct {
	id   [idSize]byte
	aead cipher.AEAD
}

// New returns a ring of the keys, each of KeySize bytes.
func New(keys ...[]byte) (*Keyring, error) {
	if len(keys) == 0 {
		return nil, fault.New(fault.BadConfig, "the key ring has no key").WithFix("`worker keys` prints a new one")
	}
	ring := &Keyring{}
	for i, secret := range keys {
		aead, err := chacha20poly1305.NewX(secret)
		if err != nil {
			return nil, fault.New(fault.BadConfig, "key %d of the ring has %d bytes, not %d", i+1, len(secret), KeySize).
				WithFix("a key is %d random bytes in base64; `worker keys` prints a new one", KeySize)
		}
		k := key{aead: aead}
		sum := sha256.Sum256(append([]byte("parley key id\x00"), secret...))
		copy(k.id[:], sum[:])
		if slices.ContainsFunc(ring.keys, func(other key) bool { return other.id == k.id }) {
			return nil, fault.New(fault.BadConfig, "key %d of the ring is there twice", i+1).WithFix("take it out once")
		}
		ring.keys = append(ring.keys, k)
	}
	return ring, nil
}

// Parse reads a ring: one key in base64 per line, the one that seals first.
// Empty lines, and lines that begin with #, say nothing.
func Parse(text string) (*Keyring, error) {
	var keys [][]byte
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		secret, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil { // The error would show a part of the key.
			return nil, fault.New(fault.BadConfig, "line %d of the key ring is no base64", i+1).
				WithFix("a key is %d random bytes in base64; `worker keys` prints a new one", KeySize)
		}
		keys = append(keys, secret)
	}
	return New(keys...)
}

// Generate returns a new key as a line of a ring.
func Generate() string {
	secret := make([]byte, KeySize)
	_, _ = rand.Read(secret) // It never fails.
	return base64.StdEncoding.EncodeToString(secret)
}

// Seal returns the text so that only a ring with the same key can open it, and
// only as what it is about: the same words must be given to Open.
func (k *Keyring) Seal(text, about []byte) ([]byte, error) {
	first := k.keys[0]
	sealed := make([]byte, headSize+nonceSize, len(text)+Overhead)
	sealed[0] = version
	copy(sealed[1:], first.id[:])
	nonce := sealed[headSize:]
	_, _ = rand.Read(nonce) // It never fails.
	return first.aead.Seal(sealed, nonce, text, bind(sealed[:headSize], about)), nil
}

// Open returns what was sealed. The error is fault.KeyMissing when the ring does
// not have the key, and fault.SealBroken when a bit has changed or when the
// text is about something else; both are never mistaken for a text.
func (k *Keyring) Open(sealed, about []byte) ([]byte, error) {
	if len(sealed) < Overhead || sealed[0] != version {
		return nil, fault.New(fault.SealBroken, "what was sealed has another form: %d bytes", len(sealed))
	}
	head, nonce, rest := sealed[:headSize], sealed[headSize:headSize+nonceSize], sealed[headSize+nonceSize:]
	i := slices.IndexFunc(k.keys, func(one key) bool { return string(one.id[:]) == string(head[1:]) })
	if i < 0 {
		return nil, fault.New(fault.KeyMissing, "the key %s is not in the ring", hex.EncodeToString(head[1:]))
	}
	text, err := k.keys[i].aead.Open(nil, nonce, rest, bind(head, about))
	if err != nil {
		return nil, fault.New(fault.SealBroken, "what was sealed with the key %s cannot be opened", hex.EncodeToString(head[1:]))
	}
	return text, nil
}

// bind returns what the seal holds together: the head, and what it is about.
func bind(head, about []byte) []byte { return append(slices.Clip(slices.Clone(head)), about...) }

// IDs returns the names of the keys, the one that seals first. They tell
// nothing of the keys.
func (k *Keyring) IDs() []string {
	ids := make([]string, len(k.keys))
	for i, one := range k.keys {
		ids[i] = hex.EncodeToString(one.id[:])
	}
	return ids
}

// String names the keys.
func (k *Keyring) String() string { return "keys " + strings.Join(k.IDs(), ", ") }

// GoString is String: %#v shows no key either.
func (k *Keyring) GoString() string { return k.String() }

// LogValue is String: a log shows no key either.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText is String: JSON shows no key either.
func (k *Keyring) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
