package vault

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/parley-chat/parley/internal/fault"
)

// Tink writes a byte and the key's number in front of what it seals.
const (
	tinkStart = 1
	tinkHead  = 5
)

// newMasterFix is what to do without a good master key.
const newMasterFix = "`publisher connections keys new` makes one"

// Sealer seals texts so that they open only as what they are about. Master and
// Keyring are sealers. Open returns fault.KeyMissing or fault.SealBroken, and
// never another text.
type Sealer interface {
	Seal(text, about []byte) ([]byte, error)
	Open(sealed, about []byte) ([]byte, error)
}

// Master is the key set that seals connections: one key seals, and all open. It
// never changes; its methods may be called from many goroutines. It shows no
// key, however it is printed.
type Master struct {
	handle *keyset.Handle
	aead   tink.AEAD
}

func newMaster(handle *keyset.Handle) (*Master, error) {
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fault.New(fault.BadConfig, "the master key is for something else").WithFix(newMasterFix)
	}
	for _, key := range handle.KeysetInfo().GetKeyInfo() {
		if key.GetOutputPrefixType().String() != "TINK" {
			return nil, fault.New(fault.BadConfig, "the master key's key %d has no number in what it seals", key.GetKeyId()).WithFix(newMasterFix)
		}
	}
	return &Master{handle, primitive}, nil
}

// NewMaster returns a master key with one new random key.
func NewMaster() (*Master, error) {
	handle, err := keyset.NewHandle(aead.XChaCha20Poly1305KeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return newMaster(handle)
}

// ParseMaster reads a master key: Tink's JSON form of a key set. The errors show
// nothing of it.
func ParseMaster(text string) (*Master, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(strings.NewReader(text)))
	if err != nil { // The error could show a part of it.
		return nil, fault.New(fault.BadConfig, "the master key is no key set in JSON").WithFix(newMasterFix)
	}
	return newMaster(handle)
}

// Text returns the master key itself, for ParseMaster. It belongs into a file
// that nobody else reads.
func (m *Master) Text() (Secret, error) {
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(m.handle, keyset.NewJSONWriter(&out)); err != nil {
		return Secret{}, fmt.Errorf("writing the master key: %w", err)
	}
	return NewSecret(strings.TrimSpace(out.String())), nil
}

// Added returns the master key with a further random key, which opens and does
// not seal yet. It is the first step of a rotation: when every process has it,
// Promoted is the second one.
func (m *Master) Added() (*Master, error) {
	manager := keyset.NewManagerFromHandle(m.handle)
	if _, err := manager.Add(aead.XChaCha20Poly1305KeyTemplate()); err != nil {
		return nil, fmt.Errorf("adding a key: %w", err)
	}
	return managed(manager)
}

// Promoted returns the master key whose last added key seals.
func (m *Master) Promoted() (*Master, error) {
	manager := keyset.NewManagerFromHandle(m.handle)
	keys := m.handle.KeysetInfo().GetKeyInfo()
	if err := manager.SetPrimary(keys[len(keys)-1].GetKeyId()); err != nil {
		return nil, fmt.Errorf("promoting a key: %w", err)
	}
	return managed(manager)
}

// Retired returns the master key with the key that seals, and no other. It is
// the last step, after everything was sealed anew.
func (m *Master) Retired() (*Master, error) {
	manager := keyset.NewManagerFromHandle(m.handle)
	info := m.handle.KeysetInfo()
	for _, key := range info.GetKeyInfo() {
		if key.GetKeyId() == info.GetPrimaryKeyId() {
			continue
		}
		if err := manager.Delete(key.GetKeyId()); err != nil {
			return nil, fmt.Errorf("retiring a key: %w", err)
		}
	}
	return managed(manager)
}

func managed(manager *keyset.Manager) (*Master, error) {
	handle, err := manager.Handle()
	if err != nil {
		return nil, fmt.Errorf("changing the master key: %w", err)
	}
	return newMaster(handle)
}

// Seal implements Sealer.
func (m *Master) Seal(text, about []byte) ([]byte, error) {
	sealed, err := m.aead.Encrypt(text, about)
	if err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	return sealed, nil
}

// Open implements Sealer.
func (m *Master) Open(sealed, about []byte) ([]byte, error) {
	id, ok := sealedBy(sealed)
	if !ok {
		return nil, fault.New(fault.SealBroken, "what was sealed has another form: %d bytes", len(sealed))
	}
	if !m.has(id) {
		return nil, fault.New(fault.KeyMissing, "the key %d is not in the master key", id)
	}
	text, err := m.aead.Decrypt(sealed, about)
	if err != nil {
		return nil, fault.New(fault.SealBroken, "what was sealed with the key %d cannot be opened", id)
	}
	return text, nil
}

// Current reports whether the key that seals now sealed it.
func (m *Master) Current(sealed []byte) bool {
	id, ok := sealedBy(sealed)
	return ok && id == m.handle.KeysetInfo().GetPrimaryKeyId()
}

func (m *Master) has(id uint32) bool {
	for _, key := range m.handle.KeysetInfo().GetKeyInfo() {
		if key.GetKeyId() == id {
			return true
		}
	}
	return false
}

// sealedBy returns the number of the key that sealed it.
func sealedBy(sealed []byte) (uint32, bool) {
	if len(sealed) < tinkHead || sealed[0] != tinkStart {
		return 0, false
	}
	return binary.BigEndian.Uint32(sealed[1:]), true
}

// String names the keys, the one that seals first. The numbers tell nothing.
func (m *Master) String() string {
	info := m.handle.KeysetInfo()
	names := []string{fmt.Sprintf("master key %d", info.GetPrimaryKeyId())}
	for _, key := range info.GetKeyInfo() {
		if key.GetKeyId() != info.GetPrimaryKeyId() {
			names = append(names, strconv.FormatUint(uint64(key.GetKeyId()), 10))
		}
	}
	return strings.Join(names, ", ")
}

// GoString is String: %#v shows no key either.
func (m *Master) GoString() string { return m.String() }

// LogValue is String: a log shows no key either.
func (m *Master) LogValue() slog.Value { return slog.StringValue(m.String()) }

// MarshalText is String: JSON shows no key either.
func (m *Master) MarshalText() ([]byte, error) { return []byte(m.String()), nil }
