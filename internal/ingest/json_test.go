package ingest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// TestParseRefuses is I9: what two readers could understand in two ways, and
// what costs more than it weighs.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	many := "[" + strings.Repeat("0,", 200_000) + "0]"
	tests := []struct {
		body, pointer string
		reason        fault.Reason
	}{
		{``, "", fault.Malformed},
		{` `, "", fault.Malformed},
		{`{`, "", fault.Malformed},
		{`{}}`, "", fault.Malformed},
		{`{} {}`, "", fault.Malformed},
		{`{"a":1,}`, "", fault.Malformed},
		{`[1,]`, "", fault.Malformed},
		{`{a:1}`, "", fault.Malformed},
		{`{'a':1}`, "", fault.Malformed},
		{`// x` + "\n{}", "", fault.Malformed},
		{`NaN`, "", fault.Malformed},
		{`Infinity`, "", fault.Malformed},
		{`-`, "", fault.Malformed},
		{`01`, "", fault.Malformed},
		{`+1`, "", fault.Malformed},
		{`.5`, "", fault.Malformed},
		{`1.`, "", fault.Malformed},
		{`0x10`, "", fault.Malformed},
		{`True`, "", fault.Malformed},
		{"\xef\xbb\xbf{}", "", fault.Malformed},
		{"{\"a\":\"\xff\"}", "", fault.Malformed},
		{"{\"\xff\":1}", "", fault.Malformed},
		{`"\ud800"`, "", fault.Malformed},
		{strings.Repeat("[", 100_000), "", fault.Malformed},
		{strings.Repeat(`{"a":`, 100_000), "", fault.Malformed},
		{strings.Repeat("[", 49) + strings.Repeat("]", 49), "", fault.Malformed},
		{many, "", fault.TooLarge},
		{`{"a":1,"a":1}`, "/a", fault.SchemaViolation},
		{`{"a":1,"\u0061":2}`, "/a", fault.SchemaViolation},
		{`{"b":[{"c":{"a/~":1,"a/~":2}}]}`, "/b/0/c/a~1~0", fault.SchemaViolation},
		{`{"x":{"__proto__":1}}`, "/x/__proto__", fault.SchemaViolation},
		{`{"constructor":1}`, "/constructor", fault.SchemaViolation},
		{`{"\u0070rototype":1}`, "/prototype", fault.SchemaViolation},
		{`{"n":1e400}`, "/n", fault.SchemaViolation},
		{`[0,-1e309]`, "/1", fault.SchemaViolation},
	}
	for _, test := range tests {
		value, err := ingest.Parse([]byte(test.body))
		if e := fault.From(err); e == nil || e.Reason != test.reason || e.Field != test.pointer || e.Fix == "" {
			t.Errorf("Parse(%.60q) = %v, %+v; want %s at %q", test.body, value, e, test.reason, test.pointer)
		}
	}
}

func TestParseIsExact(t *testing.T) {
	t.Parallel()
	numbers := []string{
		"0", "-0", "-0.0", "1", "9007199254740993", "-9007199254740993", "18446744073709551616", "1e308", "1E+2", "1.10",
		"0.1000000000000000055511151231257827", "123456789012345678901234567890", "5e-324", "1e-400", "3.141592653589793238462643383279",
	}
	for _, number := range numbers {
		value, err := ingest.Parse([]byte(`{"n":` + number + `,"l":[` + number + `]}`))
		if err != nil {
			t.Errorf("Parse of %s: %v", number, err)
			continue
		}
		text, err := json.Marshal(value)
		if err != nil || string(text) != `{"l":[`+number+`],"n":`+number+`}` {
			t.Errorf("%s became %s, %v", number, text, err)
		}
	}
	deep := strings.Repeat("[", 48) + strings.Repeat("]", 48)
	if _, err := ingest.Parse([]byte(deep)); err != nil {
		t.Errorf("48 levels: %v", err)
	}
	o, err := ingest.ParseObject([]byte(`{"a":{"b":{"c":"text","n":12,"t":"2026-11-25T10:00:00+01:00","no":"12:00","list":[1]}},"null":null}`))
	if err != nil {
		t.Fatal(err)
	}
	at, err := o.Time("a", "b", "t")
	if err != nil || !at.Equal(time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)) {
		t.Errorf("the time is %s, %v", at, err)
	}
	if at, err = o.Time("null"); err != nil || !at.IsZero() {
		t.Errorf("no time is %s, %v", at, err)
	}
	if _, err = o.Time("a", "b", "no"); fault.From(err) == nil || fault.From(err).Field != "/a/b/no" {
		t.Errorf("a wrong time: %v", err)
	}
	got := []string{o.Text("a", "b", "c"), o.Text("a", "b", "n"), o.Text("a", "b", "list"), o.Text("a", "x", "c"), o.Text("a", "b", "c", "d"), o.Text()}
	if diff := cmp.Diff([]string{"text", "12", "", "", "", ""}, got); diff != "" {
		t.Errorf("the texts differ (-want +got):\n%s", diff)
	}
	if o.Object("a", "b") == nil || o.Object("a", "b", "c") != nil || len(o.Plain()) != 2 {
		t.Error("the objects are wrong")
	}
	if _, err := ingest.ParseObject([]byte(`[]`)); err == nil {
		t.Error("an array was taken for an object")
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		body  string
		items []string
		array bool
	}{
		{` {"a": 1.0} `, []string{`{"a": 1.0}`}, false},
		{`[]`, nil, true},
		{" [ {\"a\": 1.0} ,\t\"x\" , [1, 2] ] ", []string{`{"a": 1.0}`, `"x"`, `[1, 2]`}, true},
		{`[{"a":"]"},{"a":"\"["}]`, []string{`{"a":"]"}`, `{"a":"\"["}`}, true},
	}
	for _, test := range tests {
		items, array, err := ingest.Split([]byte(test.body))
		var got []string
		for _, item := range items {
			got = append(got, string(item))
		}
		if err != nil || array != test.array || !slices.Equal(got, test.items) {
			t.Errorf("Split(%q) = %q, %t, %v", test.body, got, array, err)
		}
	}
	for _, body := range []string{`[`, `[1`, `[1,`, `[1,]`, `[1]2`, `[1 2]`, "[\"\xff\"]"} {
		if items, _, err := ingest.Split([]byte(body)); err == nil {
			t.Errorf("Split(%q) = %q", body, items)
		}
	}
}

// TestTwoReaders is the corpus of I9: texts made of what readers differ about are
// the same to all, or refused.
func TestTwoReaders(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(9, 200))
	taken, refused := 0, 0
	for range bustest.Count(5000, 200_000) {
		data := []byte(riddle(random, 4))
		if readTwice(t, data); t.Failed() {
			return
		}
		if _, err := ingest.Parse(data); err == nil {
			taken++
		} else {
			refused++
		}
	}
	t.Logf("%d texts taken, %d refused", taken, refused)
	if taken < 1000 || refused < 1000 {
		t.Errorf("%d texts taken, %d refused: they are no riddles", taken, refused)
	}
}

// riddle returns a JSON value that readers may differ about, or that is none.
func riddle(random *rand.Rand, depth int) string {
	kind := random.IntN(10)
	if depth == 0 {
		kind = random.IntN(8)
	}
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	switch {
	case kind < 3:
		return pick("0", "-0", "-0.0", "9007199254740993", "1e308", "1E+2", "1.10", "5e-324", "1e400", "-1e309", "01", "+1", ".5", "1.", "0x1", "NaN")
	case kind < 7:
		return `"` + pick("a", "é", `\u00e9`, `e\u0301`, `\ud83d\ude00`, "😀", `\u0000`, `\u2028`, `\/`, `\ud800`, `\udc00`, `\x`, "\xff", "\xed\xa0\x80", "\t", "\ufeff") + `"`
	case kind < 8:
		return pick("null", "true", "false", "True", "", "undefined", "{}", "[]")
	case kind < 9:
		var items []string
		for range random.IntN(4) {
			items = append(items, riddle(random, depth-1))
		}
		return "[" + strings.Join(items, pick(",", ",", ",", " , ", ",,")) + "]"
	}
	var members []string
	for range random.IntN(4) {
		name := pick("a", "A", "b", `\u0061`, "é", `e\u0301`, "", "__proto__", "constructor", "x/y~z")
		members = append(members, `"`+name+`":`+riddle(random, depth-1))
	}
	return "{" + strings.Join(members, ",") + "}"
}

// FuzzParse holds Parse against encoding/json, which understands more, and
// against the reader of the bus, which must understand all of it.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,2.50,-0,true,null,"x"]}`, `{"a":1,"A":2}`, `"\ud83d\ude00"`, `[[[[]]]]`, `1e400`, `{"a":1,"a":2}`, "\"\xff\"", `{"__proto__":1}`,
		" {\"e\":\"\\u0000\u2028\"}\n", `9007199254740993`, `-0.0`, `[1,]`, `{}x`, "\ufeff{}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(readTwice)
}

// readTwice holds Parse of the data against the two other readers.
func readTwice(t *testing.T, data []byte) {
	t.Helper()
	before := bytes.Clone(data)
	got, err := ingest.Parse(data)
	if !bytes.Equal(before, data) {
		t.Fatal("Parse changed what it read")
	}
	if items, array, err := ingest.Split(data); err == nil && array {
		for _, item := range items {
			if !json.Valid(item) {
				t.Fatalf("Split of %q returns %q", data, item)
			}
		}
	}
	if err != nil {
		if e, ok := errors.AsType[*fault.Error](err); !ok || e.Code != fault.Invalid {
			t.Fatalf("the error is %v", err)
		}
		return
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var want any
	if err := decoder.Decode(&want); err != nil {
		t.Fatalf("encoding/json refuses %q: %v", data, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		t.Fatalf("%q goes on", data)
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if wanted, err := json.Marshal(want); err != nil || !bytes.Equal(wanted, text) {
		t.Fatalf("%q is %s here and %s there", data, text, wanted)
	}
	if _, err := event.ParseData(text); err != nil && !tiny(data) {
		t.Fatalf("the bus refuses %s: %v", text, err)
	}
}

// tiny reports whether the body is a number that the bus's reader takes for one
// out of range: the largest float64 itself.
func tiny(data []byte) bool {
	return bytes.Contains(data, []byte(strconv.FormatFloat(math.MaxFloat64, 'g', -1, 64)[:4]))
}
