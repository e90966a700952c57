package event

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/schemas"
)

func published(tb testing.TB) *Schemas {
	tb.Helper()
	s, err := NewSchemas(schemas.FS)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestEverySchemaCompiles(t *testing.T) {
	t.Parallel()
	s := published(t)
	if n := len(s.Types()); n < 30 {
		t.Fatalf("there are %d types only", n)
	}
	for _, typ := range s.Types() {
		if _, err := s.byType[typ].compile(); err != nil {
			t.Error(err)
		}
		if path, ok := SchemaPath(typ); !ok || !strings.Contains(string(s.Source(typ)), SchemaURI(typ)) {
			t.Errorf("%s: its file %s does not hold its $id", typ, path)
		}
	}
}

func TestSchemaPath(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]string{
		CommandType("botstar.widget.open"):       "v1/command/botstar.widget.open.schema.json",
		ResultType("botstar.widget.open"):        "v1/result/botstar.widget.open.schema.json",
		FactType("botstar", FactWidgetOpened):    "v1/event/botstar.widget.opened.schema.json",
		TriggerType("track"):                     "v1/trigger/track.schema.json",
		DeadLetterType:                           "v1/dead/letter.schema.json",
		"com.example.command.x.v1":               "",
		"chat.parley.command":                    "",
		"chat.parley.command.v1":                 "",
		"chat.parley.command.botstar.widget.x":   "",
		"chat.parley.command.botstar.widget.w.w": "",
	} {
		got, ok := SchemaPath(typ)
		if got != want || ok != (want != "") {
			t.Errorf("SchemaPath(%q) = %q, %t, want %q", typ, got, ok, want)
		}
		if back, _ := typeOfPath(got); ok && back != typ {
			t.Errorf("%q came back as %q", typ, back)
		}
	}
}

// TestViolationsHelp is the list of messages that a caller may see.
func TestViolationsHelp(t *testing.T) {
	t.Parallel()
	s := published(t)
	const shop = `"site":"shop","visitor":{"user_id":"u"}`
	tests := []struct{ action, data, field, says string }{
		{"widget.open", `{` + shop + `}`, "", ""},
		{"widget.open", `{` + shop + `,"params":{}}`, "", ""},
		{"widget.boot", `{` + shop + `,"params":{"mode":"popup"},"timeout_ms":20000,"auto_boot":true}`, "", ""},
		{"widget.open", `{}`, "/site", "is missing (and 1 more)"},
		{"widget.open", `{"site":"shop"}`, "/visitor", "is missing"},
		{"widget.open", `{"site":"shop","visitor":{}}`, "/visitor", "is empty; give at least one of anonymous_id, email, user_id"},
		{"widget.open", `{"site":"shop","visitor":{"user_id":""}}`, "/visitor/user_id", "is empty"},
		{"widget.open", `{"site":"shop","visitor":{"userid":"u"}}`, "/visitor/userid", `no such field; did you mean "user_id"?`},
		{"widget.open", `{"site":"shop","visitor":"u"}`, "/visitor", "is a string, want an object"},
		{"widget.open", `{"site":7,"visitor":{"user_id":"u"}}`, "/site", "is a number, want a string"},
		{"widget.open", `{"site":"Shop!","visitor":{"user_id":"u"}}`, "/site", "does not match the pattern ^[a-z0-9][a-z0-9-]*$"},
		{"widget.open", `{` + shop + `,"params":{"now":true}}`, "/params/now", "no such parameter"},
		{"widget.open", `{` + shop + `,"param":{}}`, "/param", `no such field; did you mean "params"?`},
		{"widget.open", `{` + shop + `,"timeout_ms":50}`, "/timeout_ms", "50 is less than 100"},
		{"widget.open", `{` + shop + `,"timeout_ms":1e9}`, "/timeout_ms", "1000000000 is more than"},
		{"widget.open", `{` + shop + `,"timeout_ms":1000.5}`, "/timeout_ms", "is a number, want an integer"},
		{"widget.open", `{` + shop + `,"auto_boot":null}`, "/auto_boot", "is null, want a boolean"},
		{"widget.open", `[]`, "", "is an array, want an object"},
		{"widget.boot", `{` + shop + `,"params":{"mode":"pop"}}`, "/params/mode", `"pop" is not one of livechat, popup, inline, fullpage; did you mean "popup"?`},
		{"widget.boot", `{` + shop + `,"params":{"mdoe":"popup"}}`, "/params/mdoe", `no such parameter; did you mean "mode"?`},
		{"widget.boot", `{` + shop + `,"params":{"user":{"tags":["a",7]}}}`, "/params/user/tags/1", "is a number, want a string"},
		{"widget.boot", `{` + shop + `,"params":{"user":{"a/b~c":[]}}}`, "/params/user/a~1b~0c", "is an array, want a boolean or number or string"},
		{"widget.boot", `{` + shop + `,"params":{"user":{"` + strings.Repeat("x", 200) + `":1}}}`, "/params/user/" + strings.Repeat("x", 200), "the name is not allowed: it has 200 characters, want at most 128"},
		{"widget.update", `{` + shop + `,"params":{}}`, "/params", "is empty; give at least one of"},
		{"webview.get_parameter", `{` + shop + `}`, "/params", "is missing"},
		{"webview.get_parameter", `{` + shop + `,"params":{}}`, "/params/parameter_name", "is missing"},
		{"webview.get_parameter", `{` + shop + `,"params":{"parameter_nam":"x"}}`, "/params/parameter_nam", `did you mean "parameter_name"?`},
		{"webview.get_parameter", `{` + shop + `,"params":{"parameter_name":"x","url":"ftp://x"}}`, "/params/url", "does not match the pattern"},
	}
	for _, test := range tests {
		err := s.Validate(CommandType("botstar."+test.action), []byte(test.data))
		if test.says == "" {
			if err != nil {
				t.Errorf("%s %s: %v", test.action, test.data, err)
			}
			continue
		}
		if !errors.Is(err, fault.New(fault.SchemaViolation, "")) {
			t.Errorf("%s %s: %v, want a violation", test.action, test.data, err)
			continue
		}
		violation := fault.From(err)
		if violation.Field != test.field || !strings.Contains(violation.Message, test.says) {
			t.Errorf("%s %s: %q at %q, want %q at %q", test.action, test.data, violation.Message, violation.Field, test.says, test.field)
		}
		if !strings.Contains(violation.Fix, "botstar."+test.action) {
			t.Errorf("%s %s: the fix %q does not name the action", test.action, test.data, violation.Fix)
		}
	}
}

func TestDataIsReadStrictly(t *testing.T) {
	t.Parallel()
	s := published(t)
	open := CommandType("botstar.widget.open")
	for _, test := range []struct {
		reason            fault.Reason
		data, field, says string
	}{
		{fault.Malformed, ``, "", "missing"},
		{fault.Malformed, "  \n", "", "missing"},
		{fault.Malformed, `{`, "", "not JSON"},
		{fault.Malformed, `{"site":"shop"`, "", "not JSON"},
		{fault.Malformed, `{"site":}`, "", "not JSON"},
		{fault.Malformed, `{} {}`, "", "goes on"},
		{fault.Malformed, `{}x`, "", "not JSON"},
		{fault.Malformed, "\xef\xbb\xbf{}", "", "not JSON"},
		{fault.Malformed, "{\"site\":\"\xff\"}", "", "UTF-8"},
		{fault.Malformed, "{\"site\":\"\xc0\xa0\"}", "", "UTF-8"},
		{fault.Malformed, `{"site":"\ud800"}`, "", "not JSON"},
		{fault.Malformed, `{"timeout_ms":1e999}`, "/timeout_ms", "out of range"},
		{fault.Malformed, strings.Repeat(`[`, 70) + strings.Repeat(`]`, 70), "", "deeper than 64"},
		{fault.Malformed, strings.Repeat(`{"a":`, 100_000), "", "deeper than 64"},
		{fault.SchemaViolation, `{"site":"shop","site":"docs"}`, "/site", "twice"},
		{fault.SchemaViolation, `{"params":{"a":1,"\u0061":2}}`, "/params/a", "twice"},
		{fault.SchemaViolation, `{"__proto__":{}}`, "/__proto__", "never allowed"},
		{fault.SchemaViolation, `{"params":{"variables":{"constructor":1}}}`, "/params/variables/constructor", "never allowed"},
		{fault.SchemaViolation, `{"params":[{"proto\u0074ype":1}]}`, "/params/0/prototype", "never allowed"},
	} {
		got := fault.From(s.Validate(open, []byte(test.data)))
		if got == nil || got.Reason != test.reason || got.Field != test.field || !strings.Contains(got.Message, test.says) {
			t.Errorf("%.40s gave %#v, want %s at %q that says %q", test.data, got, test.reason, test.field, test.says)
		}
	}
	deepest := strings.Repeat(`[`, 64) + strings.Repeat(`]`, 64)
	if _, err := ParseData([]byte(deepest)); err != nil {
		t.Errorf("64 levels: %v", err)
	}
}

func TestUnknownTypes(t *testing.T) {
	t.Parallel()
	s := published(t)
	err := fault.From(s.Validate(CommandType("botstar.widget.opne"), []byte(`{}`)))
	if err == nil || err.Reason != fault.UnknownAction || !strings.Contains(err.Fix, "botstar.widget.open") {
		t.Errorf("a misspelled action gave %#v", err)
	}
	err = fault.From(s.Validate("chat.parley.trigger.trakc.v1", []byte(`{}`)))
	if err == nil || err.Reason != fault.Malformed || !strings.Contains(err.Fix, TriggerType("track")) {
		t.Errorf("a misspelled type gave %#v", err)
	}
	if s.Source("nothing") != nil {
		t.Error("an unknown type has a source")
	}
}

func TestDecodeCommand(t *testing.T) {
	t.Parallel()
	s := published(t)
	e := Envelope{ID: "1", Source: "/s", Type: CommandType("botstar.widget.update"), Data: []byte(`{
		"visitor": {"user_id": "u", "email": "e@example.test", "anonymous_id": "a"}, "site": "shop",
		"params" : {"first_name": "Ada"}, "alias": "Update user", "auto_boot": false, "timeout_ms": 5000 }`)}
	got, err := s.DecodeCommand(e)
	if err != nil {
		t.Fatal(err)
	}
	want := Command{
		Site: "shop", Visitor: Visitor{UserID: "u", Email: "e@example.test", AnonymousID: "a"},
		Params: []byte(`{"first_name": "Ada"}`), Alias: "Update user", AutoBoot: new(false), TimeoutMS: new(5000),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the command was read wrongly (-want +got):\n%s", diff)
	}
	e.Type = ResultType("botstar.widget.update")
	if _, err := s.DecodeCommand(e); !errors.Is(err, fault.New(fault.Malformed, "")) {
		t.Errorf("a result was read as a command: %v", err)
	}
	e.Type, e.Data = CommandType("botstar.widget.update"), []byte(`{"site":"shop"}`)
	if _, err := s.DecodeCommand(e); !errors.Is(err, fault.New(fault.SchemaViolation, "")) {
		t.Errorf("a wrong command was read: %v", err)
	}
}

func TestSchemasAreSharedByGoroutines(t *testing.T) {
	t.Parallel()
	s := published(t)
	var running sync.WaitGroup
	for i := range 16 {
		running.Go(func() {
			typ := s.Types()[i%len(s.Types())]
			if err := s.Validate(typ, []byte(`[]`)); !errors.Is(err, fault.New(fault.SchemaViolation, "")) {
				t.Errorf("%s took a list: %v", typ, err)
			}
		})
	}
	running.Wait()
}

func TestBadSchemaFilesAreFound(t *testing.T) {
	t.Parallel()
	if _, err := NewSchemas(fstest.MapFS{"readme.md": {}}); err == nil {
		t.Error("no schemas at all are accepted")
	}
	for name, text := range map[string]string{
		"not JSON":              `{`,
		"not a schema":          `{"type":"nothing"}`,
		"a reference elsewhere": `{"$ref":"https://example.test/other.json"}`,
	} {
		s, err := NewSchemas(fstest.MapFS{"v1/trigger/track.schema.json": {Data: []byte(text)}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := s.Validate(TriggerType("track"), []byte(`{}`)); fault.CodeOf(err) != fault.Internal {
				t.Errorf("%s: %v, want an internal error", name, err)
			}
		}
	}
}

// TestExplainNamesEveryKind holds the messages of the keywords that our own
// schemas use seldom.
func TestExplainNamesEveryKind(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ schema, data, want string }{
		{`{"const":"x"}`, `"y"`, `must be "x"`},
		{`{"format":"email"}`, `"y"`, `is not a valid email`},
		{`{"format":"date-time"}`, `"y"`, `is not a valid date-time`},
		{`{"minLength":3}`, `"y"`, `has 1 characters, want at least 3`},
		{`{"maximum":2.5}`, `3`, `3 is more than 2.5`},
		{`{"minItems":2}`, `[]`, `has 0 items, want at least 2`},
		{`{"maxItems":1}`, `[1,2]`, `has 2 items, want at most 1`},
		{`{"uniqueItems":true}`, `[1,1]`, `the items 0 and 1 are equal`},
		{`{"minProperties":2}`, `{}`, `has 0 members, want at least 2`},
		{`{"maxProperties":0}`, `{"a":1}`, `has 1 members, want at most 0`},
		{`{"propertyNames":{"pattern":"^a"}}`, `{"b":1}`, `the name is not allowed: it does not match the pattern ^a`},
		{`{"items":{"propertyNames":{"pattern":"^a"}}}`, `[{"b":1}]`, `the name is not allowed: it does not match the pattern ^a`},
		{`{"enum":[1,2]}`, `3`, `3 is not one of 1, 2`},
		{`{"enum":["a"]}`, `"` + strings.Repeat("ä", 80) + `"`, `"` + strings.Repeat("ä", 60) + `…" is not one of a`},
		{`{"not":{}}`, `3`, `is not allowed`},
		{`{"multipleOf":2}`, `3`, `multipleOf: got 3, want 2`},
		{`{"anyOf":[{"type":"string"},{"properties":{"a":{"type":"string"}}}]}`, `{"a":1}`, `is a number, want a string (and 1 more)`},
	} {
		s, err := NewSchemas(fstest.MapFS{"v1/trigger/track.schema.json": {Data: []byte(test.schema)}})
		if err != nil {
			t.Fatal(err)
		}
		got := fault.From(s.Validate(TriggerType("track"), []byte(test.data)))
		if got == nil || got.Message != test.want {
			t.Errorf("%s %s: %v, want %q", test.schema, test.data, got, test.want)
		}
	}
}

func ExampleSchemas_Validate() {
	s, err := NewSchemas(schemas.FS)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Validate(CommandType("botstar.widget.boot"), []byte(`{
		"site": "shop", "visitor": {"user_id": "u-42"}, "params": {"mode": "pop"}}`)))
	// Output: /params/mode: "pop" is not one of livechat, popup, inline, fullpage; did you mean "popup"?
}
