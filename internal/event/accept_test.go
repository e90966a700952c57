package event

import (
	"strings"
	"testing"
	"testing/fstest"
)

// TestEverySchemaHasAPlan keeps our schemas within what a plan knows.
func TestEverySchemaHasAPlan(t *testing.T) {
	t.Parallel()
	s := published(t)
	for _, typ := range s.Types() {
		ready, err := s.byType[typ].compile()
		if err != nil {
			t.Fatal(err)
		}
		if ready.plan == nil {
			t.Errorf("the schema of %s uses a keyword that a plan does not know", typ)
		}
	}
	for name, e := range goldenEvents(t) {
		ready, err := s.byType[e.Type].compile()
		if err != nil {
			t.Fatal(err)
		}
		value, err := ParseData(e.Data)
		if err != nil {
			t.Fatal(err)
		}
		if !ready.plan.accepts(value) {
			t.Errorf("the plan does not accept the golden %s", name)
		}
	}
}

// everything uses each keyword that a plan knows.
const everything = `{
	"type": "object", "required": ["a"], "minProperties": 1, "maxProperties": 4, "additionalProperties": {"type": ["string", "null"]},
	"propertyNames": {"minLength": 1, "maxLength": 3, "pattern": "^[a-zé]", "not": {"enum": ["no"]}},
	"properties": {
		"a": {"type": "string", "minLength": 2, "maxLength": 3},
		"b": {"type": "integer", "minimum": -1, "maximum": 2.5},
		"c": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"enum": ["x", "é"]}},
		"d": {"type": "number"}, "e": {"format": "date-time"}, "f": {"type": "boolean"}, "g": true,
		"h": {"type": "object", "additionalProperties": false}, "i": {"not": {"enum": ["x"]}}
	}}`

// TestPlansAgreeWithTheValidator tries values at every edge, both ways.
func TestPlansAgreeWithTheValidator(t *testing.T) {
	t.Parallel()
	ready := readyTrigger(t, everything)
	if ready.plan == nil {
		t.Fatal("there is no plan")
	}
	accepted := 0
	for _, a := range []string{`"é"`, `"éé"`, `"ééé"`, `"éééé"`, `"a"`, `"abcd"`, `7`, `null`} {
		for _, rest := range []string{
			``, `,"b":-1`, `,"b":-1.5`, `,"b":2`, `,"b":2.4`, `,"b":3`, `,"b":"1"`, `,"c":[]`, `,"c":["x"]`, `,"c":["x","é"]`, `,"c":["y"]`,
			`,"c":["x","x","x"]`, `,"c":{}`, `,"d":1e300`, `,"d":true`, `,"e":"2026-11-24T09:30:00Z"`, `,"e":"no"`, `,"e":1`, `,"e":null`,
			`,"f":false`, `,"f":0`, `,"g":[[]]`, `,"h":{}`, `,"h":{"x":1}`, `,"i":"x"`, `,"i":"y"`, `,"i":7`, `,"no":"x"`, `,"":"x"`,
			`,"zzzz":"x"`, `,"Z":"x"`, `,"é":"x"`, `,"z":null`, `,"z":7`, `,"w":"","x":"","y":""`, `,"v":"","w":"","x":"","y":""`,
		} {
			if agree := compareWithValidator(t, ready, `{"a":`+a+rest+`}`); agree {
				accepted++
			}
		}
	}
	for _, text := range []string{`{}`, `[]`, `"a"`, `null`, `{"b":1}`} {
		compareWithValidator(t, ready, text)
	}
	if accepted < 20 {
		t.Errorf("the plan accepted %d values only: the comparison is worth nothing", accepted)
	}
}

// compareWithValidator demands that the plan accepts nothing that the validator
// refuses. It reports whether the plan accepted.
func compareWithValidator(t *testing.T, ready compiled, text string) bool {
	t.Helper()
	value, err := ParseData([]byte(text))
	if err != nil {
		return false
	}
	accepted := ready.plan.accepts(value)
	if err := ready.schema.Validate(value); accepted && err != nil {
		t.Errorf("the plan accepts %s, the validator says %v", text, err)
	}
	return accepted
}

func readyTrigger(tb testing.TB, schema string) compiled {
	tb.Helper()
	s, err := NewSchemas(fstest.MapFS{"v1/trigger/track.schema.json": {Data: []byte(schema)}})
	if err != nil {
		tb.Fatal(err)
	}
	ready, err := s.byType[TriggerType("track")].compile()
	if err != nil {
		tb.Fatal(err)
	}
	return ready
}

func TestPlansKnowTheirLimits(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{
		`{"allOf":[{"type":"string"}]}`, `{"anyOf":[{}]}`, `{"oneOf":[{}]}`, `{"$ref":"#/$defs/x","$defs":{"x":{"type":"string"}}}`,
		`{"const":1}`, `{"enum":[1]}`, `{"not":{"type":"string"}}`, `{"not":{"enum":["a"],"minLength":2}}`, `{"not":{"enum":[1]}}`,
		`{"properties":{"a":false}}`, `{"properties":{"a":{"multipleOf":2}}}`, `{"items":{"uniqueItems":true}}`, `{"prefixItems":[{}]}`, `{"minimum":0.1}`,
		`{"additionalProperties":{"const":1}}`, `{"propertyNames":{"const":"a"}}`, `{"patternProperties":{"a":{}}}`,
		`{"dependentRequired":{"a":["b"]}}`, `{"unevaluatedProperties":false}`, `{"exclusiveMinimum":1}`, `{"contains":{}}`,
		`{"if":{"type":"string"},"then":{"minLength":1}}`, `false`,
	} {
		if ready := readyTrigger(t, schema); ready.plan != nil {
			t.Errorf("%s has a plan", schema)
		}
	}
}

// FuzzAccept: no plan accepts what the validator refuses.
func FuzzAccept(f *testing.F) {
	s := published(f)
	var all []compiled
	for _, typ := range s.Types() {
		ready, err := s.byType[typ].compile()
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, ready)
	}
	all = append(all, readyTrigger(f, everything))
	f.Add(uint8(len(all)-1), []byte(`{"a":"éé","b":1,"c":["x"]}`))
	f.Add(uint8(0), []byte(`{"site":"shop","visitor":{"user_id":"u"},"params":{"x":[null,true,1.5e3]}}`))
	f.Add(uint8(3), []byte(strings.Repeat(`[`, 60)+strings.Repeat(`]`, 60)))
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		compareWithValidator(t, all[int(which)%len(all)], string(data))
	})
}
