package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/parley-chat/parley/internal/fault"
)

// KMS is a key that never leaves its store. It opens and seals the master key
// once at the start; records are sealed here. Transit is one, and so is each
// tink.AEADWithContext. Its errors are classified: fault.KeyStoreUnavailable is
// worth another try, and every other one is not.
type KMS interface {
	EncryptWithContext(ctx context.Context, text, about []byte) ([]byte, error)
	DecryptWithContext(ctx context.Context, sealed, about []byte) ([]byte, error)
}

// OfTink returns a KMS of one of Tink's own clients for key stores, which know no
// context.
func OfTink(remote tink.AEAD) KMS { return ofTink{remote} }

type ofTink struct{ remote tink.AEAD }

// EncryptWithContext implements KMS.
func (o ofTink) EncryptWithContext(_ context.Context, text, about []byte) ([]byte, error) {
	return o.remote.Encrypt(text, about) //nolint:wrapcheck // Whoever calls says what was being done.
}

// DecryptWithContext implements KMS.
func (o ofTink) DecryptWithContext(_ context.Context, sealed, about []byte) ([]byte, error) {
	return o.remote.Decrypt(sealed, about) //nolint:wrapcheck // As above.
}

const (
	// masterAbout is what a master key that a KMS sealed is about.
	masterAbout = "parley master key"
	// kmsPause is the time before a key store that is away is asked again; it
	// doubles, up to kmsLongest.
	kmsPause   = 200 * time.Millisecond
	kmsLongest = 5 * time.Second
)

// UnwrapMaster reads a master key that the KMS sealed. A KMS that is away is
// asked again until ctx ends.
func UnwrapMaster(ctx context.Context, text string, kms KMS) (*Master, error) {
	var handle *keyset.Handle
	err := patiently(ctx, kms, func(kms KMS) (err error) {
		handle, err = keyset.ReadWithContext(ctx, keyset.NewJSONReader(strings.NewReader(text)), kms, []byte(masterAbout))
		return err
	})
	if err != nil {
		return nil, refusedBy(err, "the key store did not open the master key")
	}
	return newMaster(handle)
}

// Wrap returns the master key, sealed by the KMS, for UnwrapMaster.
func (m *Master) Wrap(ctx context.Context, kms KMS) (string, error) {
	var out bytes.Buffer
	err := patiently(ctx, kms, func(kms KMS) error {
		out.Reset()
		return m.handle.WriteWithContext(ctx, keyset.NewJSONWriter(&out), kms, []byte(masterAbout))
	})
	if err != nil {
		return "", refusedBy(err, "the key store did not seal the master key")
	}
	return out.String(), nil
}

// refusedBy makes an error of what the key store said. What Tink made of it tells
// no more.
func refusedBy(err error, what string) error {
	switch told := fault.From(err); told.Reason { //nolint:exhaustive // All others are not of ours.
	case fault.KeyStoreUnavailable, fault.BadConfig:
		return fmt.Errorf("%s: %w", what, told)
	}
	return fault.New(fault.BadConfig, "%s", what).WithFix("check that this is the key store, and the key in it, that sealed the master key")
}

// patiently asks again while the key store is away and there is time. It returns
// the key store's own error, which Tink's texts would hide.
func patiently(ctx context.Context, kms KMS, do func(KMS) error) error {
	for wait := kmsPause; ; wait = min(2*wait, kmsLongest) {
		heard := &hearing{KMS: kms}
		err := do(heard)
		if err == nil {
			return nil
		}
		if heard.err == nil {
			return fault.New(fault.BadConfig, "it is no key set that a key store sealed")
		}
		away := fault.From(heard.err).Reason == fault.KeyStoreUnavailable
		if !away || pause(ctx, wait/2+rand.N(wait/2)) != nil {
			return heard.err
		}
	}
}

// hearing keeps what a key store said.
type hearing struct {
	KMS
	err error
}

// EncryptWithContext implements KMS.
func (h *hearing) EncryptWithContext(ctx context.Context, text, about []byte) (sealed []byte, err error) {
	sealed, h.err = h.KMS.EncryptWithContext(ctx, text, about)
	return sealed, h.err
}

// DecryptWithContext implements KMS.
func (h *hearing) DecryptWithContext(ctx context.Context, sealed, about []byte) (text []byte, err error) {
	text, h.err = h.KMS.DecryptWithContext(ctx, sealed, about)
	return text, h.err
}

// MasterFile is where a master key lies. With a KMS, the file is sealed by it.
type MasterFile struct {
	Path string
	KMS  KMS
}

// Read reads the master key. A file that is sealed otherwise than it should be is
// refused: a key in the open beside a key store is a mistake.
func (f MasterFile) Read(ctx context.Context) (*Master, error) {
	if f.KMS == nil {
		return ReadMaster(f.Path)
	}
	text, err := readPrivate("master key", newMasterFix, f.Path)
	if err != nil {
		return nil, err
	}
	if !isWrapped(text) {
		return nil, fault.New(fault.BadConfig, "the master key %s lies open beside a key store", f.Path).WithFix("seal it: `publisher connections keys wrap`")
	}
	master, err := UnwrapMaster(ctx, text, f.KMS)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.Path, err)
	}
	return master, nil
}

// openMaster reads a master key that lies open.
func openMaster(text string) (*Master, error) {
	if isWrapped(text) {
		return nil, fault.New(fault.BadConfig, "a key store sealed the master key, and none is named").
			WithFix("name it in vault.kms, as it is where the file was made")
	}
	return ParseMaster(text)
}

// ReadAny reads the master key, whether a key store sealed it or not.
func (f MasterFile) ReadAny(ctx context.Context) (*Master, error) {
	text, err := readPrivate("master key", newMasterFix, f.Path)
	if err == nil && !isWrapped(text) {
		return ReadMaster(f.Path)
	}
	return f.Read(ctx)
}

// Write replaces the file with the master key: the old text or the new one is
// there, whatever happens.
func (f MasterFile) Write(ctx context.Context, master *Master) error {
	text, err := f.text(ctx, master)
	if err != nil {
		return err
	}
	return replaceFile(f.Path, text)
}

// Make writes a new master key, unless the file is there, and reads it.
func (f MasterFile) Make(ctx context.Context) (*Master, error) {
	fresh, err := NewMaster()
	if err != nil {
		return nil, err
	}
	text, err := f.text(ctx, fresh)
	if err != nil {
		return nil, err
	}
	if err := makeFile(f.Path, text); err != nil {
		return nil, err
	}
	return f.Read(ctx)
}

// text is what the file holds.
func (f MasterFile) text(ctx context.Context, master *Master) (string, error) {
	if f.KMS != nil {
		text, err := master.Wrap(ctx, f.KMS)
		return text + "\n", err
	}
	text, err := master.Text()
	return text.Reveal() + "\n", err
}

// isWrapped reports whether a key store sealed the text of a master key.
func isWrapped(text string) bool {
	var form struct {
		Sealed string `json:"encryptedKeyset"`
	}
	return json.Unmarshal([]byte(text), &form) == nil && form.Sealed != ""
}
