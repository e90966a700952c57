package ingest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/fault"
)

func TestBatch(t *testing.T) {
	t.Parallel()
	members, events, err := Batch([]byte(` { "a" : 1 , "list" : [ {"x":1,"x":2} , 1.50 ,"<&>" ] , "b":{"c":[]} } `), "list")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]json.RawMessage{[]byte(`{"x":1,"x":2}`), []byte("1.50"), []byte(`"<&>"`)}, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	want := Object{"a": json.Number("1"), "list": []any{}, "b": Object{"c": []any{}}}
	if diff := cmp.Diff(want, members); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

func TestBatchRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body, pointer string
		reason        fault.Reason
	}{
		"no list":           {`{"a":1}`, "/list", fault.SchemaViolation},
		"another spelling":  {`{"LIST":[]}`, "/list", fault.SchemaViolation},
		"an escaped name":   {`{"\u006cist":[]}`, "/list", fault.SchemaViolation},
		"null":              {`{"list":null}`, "/list", fault.SchemaViolation},
		"two lists":         {`{"list":[],"list":[]}`, "/list", fault.SchemaViolation},
		"two members":       {`{"list":[],"a":1,"a":1}`, "/a", fault.SchemaViolation},
		"a list":            {`[]`, "", fault.SchemaViolation},
		"nothing":           {``, "", fault.Malformed},
		"no end":            {`{"list":[1`, "", fault.Malformed},
		"no end, later":     {`{"list":[]`, "", fault.Malformed},
		"no value":          {`{"list"}`, "", fault.Malformed},
		"no name":           {`{1:[]}`, "", fault.Malformed},
		"more after it":     {`{"list":[]}1`, "", fault.Malformed},
		"no JSON inside":    {`{"list":[{]}`, "", fault.Malformed},
		"bad UTF-8 inside":  {"{\"list\":[\"\xff\"]}", "", fault.Malformed},
		"a mark of UTF-8":   {"\xef\xbb\xbf{\"list\":[]}", "", fault.Malformed},
		"nests without end": {`{"list":[` + strings.Repeat("[", 20_000), "", fault.Malformed},
	} {
		members, events, err := Batch([]byte(test.body), "list")
		if e := fault.From(err); e == nil || e.Reason != test.reason || e.Field != test.pointer || e.Fix == "" {
			t.Errorf("%s: %v, %v, the error is %+v; want %s at %q", name, members, events, e, test.reason, test.pointer)
		}
	}
}

// FuzzBatch: whatever Batch takes, the strict parser would take the same way,
// event by event.
func FuzzBatch(f *testing.F) {
	f.Add([]byte(`{"list":[{"a":1},2],"b":3}`))
	f.Add([]byte(`{"a":{"list":[1]},"list":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		members, events, err := Batch(body, "list")
		whole, werr := ParseObject(body)
		if err != nil {
			if list, ok := whole["list"].([]any); werr == nil && ok && !strings.Contains(string(body), `\`) {
				t.Fatalf("refused, though it has a list of %d: %v", len(list), err)
			}
			return
		}
		if werr != nil {
			return // One event is wrong, which is its own affair.
		}
		list, _ := whole["list"].([]any)
		if len(list) != len(events) || len(members) != len(whole) {
			t.Fatalf("%d events and %d members, want %d and %d", len(events), len(members), len(list), len(whole))
		}
		for i, raw := range events {
			value, err := Parse(raw)
			if diff := cmp.Diff(list[i], value); err != nil || diff != "" {
				t.Fatalf("event %d: %v\n%s", i, err, diff)
			}
		}
	})
}
