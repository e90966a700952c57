package segment

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/event"
)

// mutations is how many forged requests are tried: row I12 of the matrix of
// failures.
const mutations = 20_000

// TestForgedRequestsAreRefused changes requests that are properly signed. None may
// pass, unless the change left what was signed as it was.
func TestForgedRequestsAreRefused(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(12, 20_000))
	s := newSource(t, "new", secret)
	counts := map[string]int{}
	for range mutations {
		f := forge(r)
		counts[f.how]++
		got, err := s.Receive(t.Context(), request(f.body, f.token, f.signatures...))
		if err != nil {
			continue
		}
		for _, item := range got.Items {
			if string(item.Raw) == one && slices.Equal(f.signatures, []string{sign(secret, one)}) {
				continue // It is what was signed.
			}
			if item.Authenticated == event.AuthenticFirst && f.token {
				continue // Whoever has the token may add to a batch.
			}
			t.Fatalf("%s: accepted as %q: %s\nof %s signed %v", f.how, item.Authenticated, item.Raw, f.body, f.signatures)
		}
	}
	for _, how := range ways() {
		if counts[how] < mutations/len(ways())/2 {
			t.Errorf("%s was tried %d times only", how, counts[how])
		}
	}
}

type forged struct {
	how, body  string
	token      bool
	signatures []string
}

func ways() []string {
	return []string{"body", "signature", "missing", "truncated", "other key", "appended", "prepended", "swapped", "two signatures", "batch of one"}
}

// forge changes a signed request.
func forge(r *rand.Rand) forged {
	f := forged{how: ways()[r.IntN(len(ways()))], body: one, signatures: []string{sign(secret, one)}}
	good := f.signatures[0]
	switch f.how {
	case "body":
		f.body = spoil(r, one)
	case "signature":
		f.signatures[0] = spoil(r, good)
	case "missing":
		f.signatures = nil
	case "truncated":
		f.signatures[0] = good[:r.IntN(len(good))]
	case "other key":
		f.signatures[0] = sign(secret+string(rune('a'+r.IntN(26))), one)
	case "appended": // Without the token, nothing of it may pass.
		f.body = "[" + one + strings.Repeat(","+two, 1+r.IntN(3)) + "]"
		f.signatures[0] = good
	case "prepended":
		f.body = "[" + two + "," + one + "]"
		f.token = r.IntN(2) == 0
	case "swapped":
		f.body = two
	case "two signatures":
		f.signatures = append(f.signatures, sign("other", one))
		f.body = spoil(r, one)
	case "batch of one":
		f.body = "[" + spoil(r, one) + "]"
	}
	return f
}

// spoil returns the text with one to three changes, never the same text.
func spoil(r *rand.Rand, text string) string {
	for {
		out := []byte(text)
		for range 1 + r.IntN(3) {
			if len(out) == 0 {
				break
			}
			at := r.IntN(len(out))
			switch r.IntN(4) {
			case 0:
				out[at] ^= 1 << r.IntN(8)
			case 1:
				out = slices.Delete(out, at, at+1)
			case 2:
				out = slices.Insert(out, at, byte(r.IntN(256)))
			case 3:
				out = bytes.Clone(out[:max(at, 1)])
			}
		}
		if string(out) != text && len(out) > 0 {
			return string(out)
		}
	}
}

// TestAppendedEvents tests what passes of a batch to which somebody has added
// events: with the token, they are marked; without, the batch is refused whole.
func TestAppendedEvents(t *testing.T) {
	t.Parallel()
	s := newSource(t, secret)
	body := "[" + one + "," + two + "]"
	got, err := s.Receive(t.Context(), request(body, false, sign(secret, one)))
	if err == nil || len(got.Items) > 0 {
		t.Errorf("without the token, %d events passed: %v", len(got.Items), err)
	}
	got, err = s.Receive(t.Context(), request(body, true, sign(secret, one)))
	if err != nil || len(got.Items) != 2 || got.Items[0].Authenticated != event.AuthenticFull || got.Items[1].Authenticated != event.AuthenticFirst {
		t.Errorf("with the token, the items are %+v: %v", got.Items, err)
	}
}
