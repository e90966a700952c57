package session

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/fault"
)

// The form of a snapshot: a version, the length of the head, the head as JSON,
// and then the stores of its origins, in their order: local and session, each
// as a count and that many names and values, each with its length in front. The
// stores are most of a snapshot, and JSON would need most of the time for them.
const snapshotVersion = 1

// errForm says that a text is no snapshot.
var errForm = errors.New("it has another form")

// encodeSnapshot appends the form of the snapshot to text.
func encodeSnapshot(text []byte, snap Snapshot) ([]byte, error) {
	head := snap
	size := 1024
	if snap.Storage != nil {
		bare := &browser.Storage{Cookies: snap.Storage.Cookies, Origins: slices.Clone(snap.Storage.Origins)}
		for i := range bare.Origins {
			size += weigh(bare.Origins[i])
			bare.Origins[i].Local, bare.Origins[i].Session = nil, nil
		}
		head.Storage = bare
	}
	raw, err := json.Marshal(head)
	if err != nil {
		return nil, fault.New(fault.InternalError, "encoding a snapshot").Because(err)
	}
	text = append(slices.Grow(text, size+len(raw)+size/8), snapshotVersion)
	text = append(binary.AppendUvarint(text, uint64(len(raw))), raw...)
	if snap.Storage == nil {
		return text, nil
	}
	for _, o := range snap.Storage.Origins {
		text = appendStore(appendStore(text, o.Local), o.Session)
	}
	return text, nil
}

// appendStore appends the store, sorted, so that equal snapshots are equal.
func appendStore(text []byte, store map[string]string) []byte {
	text = binary.AppendUvarint(text, uint64(len(store)))
	for _, name := range slices.Sorted(maps.Keys(store)) {
		for _, part := range []string{name, store[name]} {
			text = append(binary.AppendUvarint(text, uint64(len(part))), part...)
		}
	}
	return text
}

func decodeSnapshot(text []byte) (Snapshot, error) {
	var snap Snapshot
	if len(text) == 0 || text[0] != snapshotVersion {
		return snap, errForm
	}
	r := reader{rest: string(text[1:])}
	if err := json.Unmarshal([]byte(r.text()), &snap); err != nil {
		return Snapshot{}, errors.Join(errForm, err)
	}
	if snap.Storage != nil {
		for i := range snap.Storage.Origins {
			o := &snap.Storage.Origins[i]
			o.Local, o.Session = r.store(), r.store()
		}
	}
	if r.bad || r.rest != "" {
		return Snapshot{}, errForm
	}
	return snap, nil
}

// reader reads the parts of a snapshot. After the first part that is not there,
// it is bad, and reads nothing.
type reader struct {
	rest string
	bad  bool
}

func (r *reader) number() uint64 {
	n := uint64(0)
	for i := 0; i < len(r.rest) && i < binary.MaxVarintLen64; i++ {
		c := r.rest[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.rest = r.rest[i+1:]
			return n
		}
	}
	r.bad, r.rest = true, ""
	return 0
}

func (r *reader) text() string {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, ""
		return ""
	}
	text := r.rest[:n]
	r.rest = r.rest[n:]
	return text
}

func (r *reader) store() map[string]string {
	count := r.number()
	if count == 0 {
		return nil
	}
	store := make(map[string]string, min(count, 1024))
	for range count {
		name := r.text()
		value := r.text()
		if r.bad {
			return nil
		}
		store[name] = value
	}
	return store
}
