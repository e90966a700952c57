package session

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
)

func TestDecodeSignal(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, raw string
		ok        bool
	}{
		{"a fact", `{"name":"widget.opened","cause":"api","key":"abc/open","seq":3,"at_ms":1.5,"data":{"x":1}}`, true},
		{"no data", `{"name":"page.started","cause":"navigation","seq":1,"at_ms":1}`, true},
		{"unknown members", `{"name":"a","cause":"visitor","seq":1,"at_ms":1,"more":true}`, true},
		{"no JSON", `{"name":`, false},
		{"not an object", `[]`, false},
		{"not UTF-8", "{\"name\":\"a\",\"cause\":\"visitor\",\"seq\":1,\"at_ms\":1,\"data\":\"\xff\"}", false},
		{"no name", `{"cause":"visitor","seq":1,"at_ms":1}`, false},
		{"a name of a subject's wildcards", `{"name":"widget.>","cause":"visitor","seq":1,"at_ms":1}`, false},
		{"a name with a space", `{"name":"widget opened","cause":"visitor","seq":1,"at_ms":1}`, false},
		{"a long name", `{"name":"` + strings.Repeat("a", 65) + `","cause":"visitor","seq":1,"at_ms":1}`, false},
		{"no cause", `{"name":"a","seq":1,"at_ms":1}`, false},
		{"another cause", `{"name":"a","cause":"god","seq":1,"at_ms":1}`, false},
		{"a long key", `{"name":"a","cause":"api","key":"` + strings.Repeat("k", 300) + `","seq":1,"at_ms":1}`, false},
		{"no sequence", `{"name":"a","cause":"visitor","at_ms":1}`, false},
		{"a negative sequence", `{"name":"a","cause":"visitor","seq":-1,"at_ms":1}`, false},
		{"a sequence that is text", `{"name":"a","cause":"visitor","seq":"1","at_ms":1}`, false},
		{"an endless number", `{"name":"a","cause":"visitor","seq":1,"at_ms":1e999}`, false},
		{"too large", `{"name":"a","cause":"visitor","seq":1,"at_ms":1,"data":"` + strings.Repeat("x", maxSignal) + `"}`, false},
	}
	for _, test := range tests {
		if _, ok := decodeSignal(json.RawMessage(test.raw)); ok != test.ok {
			t.Errorf("%s: accepted %t", test.name, ok)
		}
	}
}

func FuzzDecodeSignal(f *testing.F) {
	f.Add([]byte(`{"name":"widget.opened","cause":"api","key":"abc/open","seq":3,"at_ms":1.5,"data":{"x":1}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		signal, ok := decodeSignal(raw)
		if !ok {
			return
		}
		x := heard{signal: signal, at: time.Unix(1_800_000_000, 0)}
		if d := x.happened().Sub(x.at); d > maxDrift || d < -maxDrift {
			t.Errorf("a signal's time is %s away", d)
		}
	})
}

func TestHappened(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_800_000_000, 0)
	tests := []struct {
		page float64
		want time.Time
	}{
		{1_800_000_000_000 - 1500.5, at.Add(-1500500 * time.Microsecond)},
		{1_800_000_000_000 + 30_000, at.Add(30 * time.Second)},
		{0, at},
		{1_800_000_000_000 - 90_000, at},
		{-1e300, at},
	}
	for _, test := range tests {
		x := heard{signal: actions.Signal{AtMS: test.page}, at: at}
		if got := x.happened(); !got.Equal(test.want) {
			t.Errorf("a page's time of %g is %s, want %s", test.page, got, test.want)
		}
	}
}

func TestCauses(t *testing.T) {
	t.Parallel()
	var c causes
	for i := range 100 {
		c.add(Command{Key: string(rune('a' + i)), ID: string(rune('A' + i))})
	}
	for key, want := range map[string]string{
		string(rune('a'+99)) + "/open": string(rune('A' + 99)),
		string(rune('a' + 40)):         string(rune('A' + 40)),
		"a/open":                       "", // forgotten
		"":                             "",
		"/":                            "",
		"unknown":                      "",
	} {
		if got, known := c.find(key); got.ID != want || known != (want != "") {
			t.Errorf("find(%q) = %q, %t, want %q", key, got.ID, known, want)
		}
	}
}

func TestRebase(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(int64(s), 0).UTC() }
	type bag = map[string]any
	tests := []struct {
		name                     string
		base, ours, theirs, want actions.Profile
	}{
		{
			"both add",
			actions.Profile{},
			actions.Profile{Kept: bag{"a": 1}, Sent: map[string][]time.Time{"update": {at(1)}}},
			actions.Profile{Kept: bag{"b": 2}, Sent: map[string][]time.Time{"update": {at(2)}}},
			actions.Profile{Kept: bag{"a": 1, "b": 2}, Sent: map[string][]time.Time{"update": {at(1), at(2)}}},
		},
		{
			"theirs took over what was kept",
			actions.Profile{Kept: bag{"a": 1}},
			actions.Profile{Kept: bag{"a": 1, "b": 2}},
			actions.Profile{},
			actions.Profile{Kept: bag{"b": 2}},
		},
		{
			"ours sent what waited",
			actions.Profile{Pending: bag{"a": 1}, PendingFrom: []string{"one"}, FlushAt: at(9)},
			actions.Profile{},
			actions.Profile{Pending: bag{"a": 1, "b": 2}, PendingFrom: []string{"one", "two"}, FlushAt: at(9)},
			actions.Profile{Pending: bag{"b": 2}, PendingFrom: []string{"two"}},
		},
		{
			"ours sent, and theirs sent before",
			actions.Profile{SentFor: "a"},
			actions.Profile{SentFor: "b"},
			actions.Profile{SentFor: "c"},
			actions.Profile{SentFor: "b"},
		},
		{
			"theirs sent",
			actions.Profile{SentFor: "a"},
			actions.Profile{SentFor: "a"},
			actions.Profile{SentFor: "c"},
			actions.Profile{SentFor: "c"},
		},
		{
			"ours cleared the browser, and theirs were told whom the vendor means",
			actions.Profile{VendorID: "v-1"},
			actions.Profile{ClearedAt: at(4)},
			actions.Profile{VendorID: "v-1", ClearedAt: at(2)},
			actions.Profile{ClearedAt: at(4)},
		},
		{
			"theirs cleared it later",
			actions.Profile{},
			actions.Profile{ClearedAt: at(4)},
			actions.Profile{ClearedAt: at(5)},
			actions.Profile{ClearedAt: at(5)},
		},
		{
			"the same change",
			actions.Profile{Kept: bag{"a": 1}},
			actions.Profile{Kept: bag{"a": 2}, FlushAt: at(3)},
			actions.Profile{Kept: bag{"a": 2}, FlushAt: at(3)},
			actions.Profile{Kept: bag{"a": 2}, FlushAt: at(3)},
		},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, rebase(test.base, test.ours, test.theirs)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestBare(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://shop.example.test/a?email=x#y": "https://shop.example.test/a",
		"https://u:p@shop.example.test":         "https://shop.example.test",
		"://":                                   "",
	} {
		if got := bare(address); got != want {
			t.Errorf("bare(%q) = %q, want %q", address, got, want)
		}
	}
}
