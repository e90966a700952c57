package event

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/schemas"
)

// slowly is Validate without the scanner.
func slowly(s *Schemas, typ string, data []byte) error {
	value, err := ParseData(data)
	if err != nil {
		return err
	}
	return s.ValidateValue(typ, value)
}

// viewed returns a trigger as the edge stores it.
func viewed(tb testing.TB) []byte {
	tb.Helper()
	at := time.Date(2026, 11, 30, 9, 30, 0, 123456789, time.UTC)
	data, err := json.Marshal(Trigger{
		Site: "shop", Visitor: Visitor{UserID: "u-1", Email: "ada@example.test"}, Event: "Pricing Viewed",
		Properties: map[string]any{"size": 20, "price": 19.99, "items": []any{map[string]any{"sku": "a-1", "n": 2}, nil, true}, "note": "a \"b\"\n"},
		Traits:     map[string]any{"plan": "größer", "none": map[string]any{}, "list": []any{}},
		URL:        "https://shop.example.test/pricing", OccurredAt: at, ReceivedAt: at,
		Consent: &Consent{Analytics: new(true)},
		Origin:  &Origin{Provider: "segment", SourceID: "web", MessageID: "m-1", Authenticated: AuthenticPath},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func newSchemas(tb testing.TB) *Schemas {
	tb.Helper()
	s, err := NewSchemas(schemas.FS)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// TestScanTellsMembers shows that the members come as encoding/json reads them.
func TestScanTellsMembers(t *testing.T) {
	t.Parallel()
	s, data := newSchemas(t), viewed(t)
	got := map[string]any{}
	if !s.Scan(TriggerType(KindTrack), data, func(name []byte, value Raw) { got[string(name)] = value.Any() }) {
		t.Fatalf("the scanner does not accept %s", data)
	}
	var want map[string]any
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("other members (-want +got):\n%s", diff)
	}
}

// TestScanOfOrdinaryEvents shows that what senders really send needs no parser.
func TestScanOfOrdinaryEvents(t *testing.T) {
	t.Parallel()
	s := newSchemas(t)
	const trigger = `{"site":"shop","visitor":{"user_id":"u"},"event":"E","occurred_at":"2026-11-25T09:30:00Z"%s}`
	for _, more := range []string{
		"", `, "properties" : { "a" : [ ] , "b" : { } , "c" : [ 1 , -2.5 , 0 ] } `, `,"url":"https://x.test/?a=%20"`,
		`,"properties":{"a":"\\ \/ \" \n"}`, `,"traits":{"ä":"ö"}`, `,"consent":{"gpc":true}`, "\n",
	} {
		if data := fmt.Sprintf(trigger, more); !s.Scan(TriggerType(KindTrack), []byte(data), nil) {
			t.Errorf("the scanner does not accept %s", data)
		}
	}
}

// TestScanLeaves holds the scanner off what a parser would refuse, and what only
// that can read.
func TestScanLeaves(t *testing.T) {
	t.Parallel()
	s := newSchemas(t)
	const head = `{"site":"shop","visitor":{"user_id":"u"},"event":"E","occurred_at":"2026-11-25T09:30:00Z"`
	for _, data := range []string{
		"", "{}", "[]", "null", `"a"`, head, head + "}}", head + "} x", head + ",}", head + `,"event":"E"}`, head + `,"other":1}`,
		head + `,"properties":{"a":01}}`, head + `,"properties":{"a":1.}}`, head + `,"properties":{"a":-}}`, head + `,"properties":{"a":1e400}}`,
		head + `,"properties":{"a":1e3}}`, head + `,"properties":{"a":"\u0041"}}`, head + `,"properties":{"\n":1}}`,
		head + `,"properties":{"a":1,"a":2}}`, head + `,"properties":{"__proto__":1}}`, head + `,"properties":{"a":{"constructor":1}}}`,
		head + `,"properties":{"a":nul}}`, head + `,"properties":{"a":"` + "\xff" + `"}}`, head + `,"properties":{"a":"` + "\n" + `"}}`,
		head + `,"properties":{"a":"\x"}}`, head + `,"properties":{"a":[1,]}}`, head + `,"properties":{"a":[1 2]}}`, head + `,"properties":[]}`,
		head + `,"properties":{"a":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}}`, head + `,"consent":{"gpc":"yes"}}`,
		head + `,"origin":{}}`, head + `,"origin":{"provider":"p","authenticated":"maybe"}}`,
		strings.Replace(head, "shop", "Shop", 1) + "}", strings.Replace(head, "shop", "-hop", 1) + "}", strings.Replace(head, `"user_id":"u"`, "", 1) + "}",
		strings.Replace(head, "09:30:00Z", "24:00:00Z", 1) + "}", strings.Replace(head, "11-25", "11-31", 1) + "}",
		strings.Replace(head, "11-25", "00-25", 1) + "}", strings.Replace(head, "00Z", "00.Z", 1) + "}",
		strings.Replace(head, `"E"`, `"`+strings.Repeat("e", 257)+`"`, 1) + "}",
	} {
		if s.Scan(TriggerType(KindTrack), []byte(data), nil) {
			t.Errorf("the scanner accepts %s", data)
		}
	}
	if s.Scan("chat.parley.trigger.unheard_of.v1", []byte(head+"}"), nil) {
		t.Error("the scanner accepts a type that is none")
	}
}

// FuzzScan holds the scanner against the parser and the validator: it accepts
// nothing that they refuse, and reads what they read.
func FuzzScan(f *testing.F) {
	s := newSchemas(f)
	types := s.Types()
	for i := range types {
		f.Add(uint(i), viewed(f))
	}
	f.Add(uint(0), []byte(`{"params":{},"site":"shop","visitor":{"email":"a@b.test"},"timeout_ms":1000}`))
	f.Fuzz(func(t *testing.T, pick uint, data []byte) {
		compare(t, s, types[pick%uint(len(types))], data)
	})
}

// compare fails where the scanner accepts what is refused elsewhere, or reads it
// in another way.
func compare(tb testing.TB, s *Schemas, typ string, data []byte) (accepted bool) {
	tb.Helper()
	got := map[string]any{}
	if !s.Scan(typ, data, func(name []byte, value Raw) { got[string(name)] = value.Any() }) {
		return false
	}
	if err := slowly(s, typ, data); err != nil {
		tb.Fatalf("the scanner accepts %s as %s: %v", data, typ, err)
	}
	var want map[string]any
	if err := json.Unmarshal(data, &want); err != nil {
		tb.Fatalf("the scanner accepts %s: %v", data, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Fatalf("the scanner reads %s otherwise (-want +got):\n%s", data, diff)
	}
	return true
}

// TestScanOfChangedEvents changes a correct event at random, by bytes and by
// pieces, and holds the scanner against the parser.
func TestScanOfChangedEvents(t *testing.T) {
	t.Parallel()
	s, random := newSchemas(t), rand.New(rand.NewPCG(1, 20261125))
	whole, accepted := viewed(t), 0
	pieces := []string{`"`, `\`, `{`, `}`, `[`, `]`, `,`, `:`, `0`, `-`, `.5`, `e1`, `null`, `true`, ` `, "\x00", "\xc3", `\u0041`, `\n`, `"a":1,`, `"size":2,`}
	for range 20_000 {
		data := append([]byte(nil), whole...)
		for range 1 + random.IntN(3) {
			at := random.IntN(len(data))
			switch random.IntN(3) {
			case 0:
				data[at] = byte(random.Uint32())
			case 1:
				data = append(data[:at], data[at+1:]...)
			case 2:
				data = append(data[:at:at], append([]byte(pieces[random.IntN(len(pieces))]), data[at:]...)...)
			}
		}
		if compare(t, s, TriggerType(KindTrack), data) {
			accepted++
		}
	}
	if accepted < 1000 || accepted > 19_000 {
		t.Errorf("%d of 20,000 changed events were accepted: the test tells little", accepted)
	}
}

// TestRaw reads what the scanner passed.
func TestRaw(t *testing.T) {
	t.Parallel()
	raw := Raw(`{"a": "x\ty\\\"\/\b\f\n\r", "t": "2026-11-25T09:30:00.5Z", "b" : [ 1, [ ], {"c": true} ], "n":null, "f":false}`)
	find := func(name string) Raw {
		value, ok := raw.Find(name)
		if !ok {
			t.Fatalf("there is no %s", name)
		}
		return value
	}
	if got := find("a").Text(); got != "x\ty\\\"/\b\f\n\r" {
		t.Errorf("the text is %q", got)
	}
	if got := find("t").Moment(); !got.Equal(time.Date(2026, 11, 25, 9, 30, 0, 5e8, time.UTC)) {
		t.Errorf("the time is %s", got)
	}
	if got := find("n"); string(got) != "null" || got.Any() != nil || got.Text() != "" || !got.Moment().IsZero() || got.Flag() {
		t.Errorf("null is %s", got)
	}
	if diff := cmp.Diff([]any{1.0, []any{}, map[string]any{"c": true}}, find("b").Any()); diff != "" {
		t.Error(diff)
	}
	if _, ok := raw.Find("c"); ok {
		t.Error("an inner member was found")
	}
	if _, ok := Raw(nil).Find("a"); ok || Raw(nil).Any() != nil {
		t.Error("nothing has a member")
	}
}

// TestScanNeedsNoAllocation holds the price of an ordinary event.
func TestScanNeedsNoAllocation(t *testing.T) { //nolint:paralleltest // It counts allocations.
	s, data := newSchemas(t), viewed(t)
	typ := TriggerType(KindTrack)
	if n := testing.AllocsPerRun(100, func() {
		if err := s.Validate(typ, data); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("validating takes %.0f allocations", n)
	}
}

// BenchmarkScan is a look at an event, without making anything of it.
func BenchmarkScan(b *testing.B) {
	s, data := newSchemas(b), viewed(b)
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		s.Scan(TriggerType(KindTrack), data, nil)
	}
}
