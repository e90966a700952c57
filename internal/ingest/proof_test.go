package ingest_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/plain"
)

func mac(h func() hash.Hash, key, message string) []byte {
	m := hmac.New(h, []byte(key))
	m.Write([]byte(message))
	return m.Sum(nil)
}

// mutate changes the text in one place: a byte flipped, taken out, put in or
// doubled, or the text cut off.
func mutate(r *rand.Rand, text string) string {
	i := 0
	if len(text) > 0 {
		i = r.IntN(len(text))
	}
	switch r.IntN(5) {
	case 0:
		if len(text) > 0 {
			return text[:i] + string(text[i]^byte(1<<r.IntN(7))) + text[i+1:]
		}
	case 1:
		if len(text) > 0 {
			return text[:i] + text[i+1:]
		}
	case 2:
		return text[:i] + string(rune('!'+r.IntN(90))) + text[i:]
	case 3:
		return text[:i]
	}
	return text + text
}

// TestForgeries is I12: a signature with any change to it, to what it covers, or
// to the key, proves nothing.
func TestForgeries(t *testing.T) {
	t.Parallel()
	const message, now = `{"event":"Pricing Viewed","user_id":"u-42"}`, 1_790_000_000
	at := time.Unix(now, 0)
	keys := [][]byte{[]byte("the next secret"), []byte("the present secret"), nil}
	standard := func(id, stamp, body, signature string) bool {
		h := http.Header{}
		h.Set("Webhook-Id", id)
		h.Set("Webhook-Timestamp", stamp)
		h.Set("Webhook-Signature", signature)
		got, err := ingest.StandardWebhook(keys, h, []byte(body), at)
		return err == nil && got == id
	}
	stamp := strconv.Itoa(now)
	schemes := map[string]struct {
		good  []string // what is signed, and the signature at the end
		check func(parts []string) bool
	}{
		"hex sha1": {
			[]string{message, hex.EncodeToString(mac(sha1.New, "the present secret", message))},
			func(p []string) bool { return ingest.SignedHex(sha1.New, keys, []byte(p[0]), p[1]) },
		},
		"hex sha256": {
			[]string{message, hex.EncodeToString(mac(sha256.New, "the next secret", message))},
			func(p []string) bool { return ingest.SignedHex(sha256.New, keys, []byte(p[0]), p[1]) },
		},
		"base64 sha256": {
			[]string{message, base64.StdEncoding.EncodeToString(mac(sha256.New, "the present secret", message))},
			func(p []string) bool { return ingest.SignedBase64(sha256.New, keys, []byte(p[0]), p[1]) },
		},
		"standard webhooks": {
			[]string{"msg-1", stamp, message, "v1," + base64.StdEncoding.EncodeToString(mac(sha256.New, "the present secret", "msg-1."+stamp+"."+message))},
			func(p []string) bool { return standard(p[0], p[1], p[2], p[3]) },
		},
		"known": {
			[]string{"the present secret"},
			func(p []string) bool { return ingest.Known(keys, p[0]) },
		},
	}
	for name, scheme := range schemes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !scheme.check(scheme.good) {
				t.Fatal("the true one is refused")
			}
			random := rand.New(rand.NewPCG(7, uint64(len(name))))
			tried := 0
			for range 5000 {
				parts := append([]string(nil), scheme.good...)
				i := random.IntN(len(parts))
				parts[i] = mutate(random, parts[i])
				if same(name, parts, scheme.good) {
					continue
				}
				tried++
				if scheme.check(parts) {
					t.Fatalf("%q is taken", parts)
				}
			}
			if tried < 4000 {
				t.Errorf("only %d forgeries were tried", tried)
			}
		})
	}
	for _, key := range []string{"", "the old secret", "the present secret "} {
		if ingest.SignedHex(sha256.New, keys, []byte(message), hex.EncodeToString(mac(sha256.New, key, message))) {
			t.Errorf("the key %q is taken", key)
		}
	}
	if ingest.Known([][]byte{nil, {}}, "") || ingest.Known(nil, "x") {
		t.Error("no secret is known")
	}
}

// same reports whether the change is none: hex may be written in both cases, and
// several signatures may stand beside each other.
func same(scheme string, parts, good []string) bool {
	if strings.HasPrefix(scheme, "hex") {
		return parts[0] == good[0] && strings.EqualFold(parts[1], good[1])
	}
	last := len(parts) - 1
	if scheme == "standard webhooks" && strings.Join(parts[:last], "\n") == strings.Join(good[:last], "\n") {
		for one := range strings.FieldsSeq(parts[last]) {
			if one == good[last] {
				return true
			}
		}
	}
	return strings.Join(parts, "\n") == strings.Join(good, "\n")
}

// TestReplaysOfSignedRequests is I13: a signed request is taken once, and not at
// all when its time is not ours.
func TestReplaysOfSignedRequests(t *testing.T) {
	t.Parallel()
	const key = "the secret of the sender"
	mount := mountPlain(t, "web")
	mount.Token, mount.Settings.Secrets = nil, [][]byte{[]byte(key)}
	var err error
	if mount.Source, err = plain.New(mount.Settings); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, bustest.Start(t), nil, mount)
	send := func(id string, at time.Time) answer {
		stamp, body := strconv.FormatInt(at.Unix(), 10), `{"event":"E","user_id":"u","site":"shop"}`
		return r.do(http.MethodPost, "/in/web", strings.NewReader(body), map[string]string{
			"Authorization": "", "Webhook-Id": id, "Webhook-Timestamp": stamp,
			"Webhook-Signature": "v1,bm90IHRoaXM= v1," + base64.StdEncoding.EncodeToString(mac(sha256.New, key, id+"."+stamp+"."+body)),
		})
	}
	now, requests := time.Now(), bustest.Count(20, 150) // With seven replays each.
	for i := range requests {
		id := fmt.Sprintf("msg-%d", i)
		if a := send(id, now); a.status != http.StatusAccepted {
			t.Fatalf("the request is answered %d %s", a.status, a.body)
		}
		for _, age := range []time.Duration{0, 4 * time.Minute, -4 * time.Minute} {
			if a := send(id, now.Add(-age)); a.status != http.StatusOK {
				t.Errorf("a replay after %s is answered %d %s", age, a.status, a.body)
			}
		}
		for _, age := range []time.Duration{6 * time.Minute, time.Hour, 72 * time.Hour, -6 * time.Minute} {
			if a := send(id, now.Add(-age)); a.status != http.StatusUnauthorized {
				t.Errorf("a replay after %s is answered %d %s", age, a.status, a.body)
			}
		}
	}
	all := r.triggers()
	if len(all) != requests || all[0].Origin.Authenticated != "full" || all[0].Origin.MessageID != "msg-0" {
		t.Errorf("%d events are stored: %+v", len(all), all[0].Origin)
	}
	if n := r.ledger.refused(fault.NotAuthentic); n != 4*requests {
		t.Errorf("%d refusals are counted, want %d", n, 4*requests)
	}
	if list := rejectedOf(t, r.bus); len(list) != 0 {
		t.Errorf("what nobody proved fills the rejected list: %v", list)
	}
}

func TestConsent(t *testing.T) {
	t.Parallel()
	show := func(b *bool) string {
		if b == nil {
			return "-"
		}
		return strconv.FormatBool(*b)
	}
	for gcs, want := range map[string]string{"G111": "true true", "G100": "false false", "G101": "false true", "G110": "true false", "G1--": "none", "G1-1": "- true", "": "none", "G11": "none", "x111": "none"} {
		got := "none"
		if c := ingest.ConsentState(gcs); c != nil {
			got = show(c.Advertising) + " " + show(c.Analytics)
		}
		if got != want {
			t.Errorf("ConsentState(%q) = %s, want %s", gcs, got, want)
		}
	}
	for value, want := range map[any]string{"GRANTED": "true", "denied": "false", true: "true", false: "false", "maybe": "-", nil: "-", 1: "-"} {
		if got := show(ingest.Granted(value)); got != want {
			t.Errorf("Granted(%v) = %s, want %s", value, got, want)
		}
	}
}
