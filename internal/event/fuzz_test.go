package event

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/fault"
)

// FuzzDecodeEnvelope feeds arbitrary messages to Decode. What it accepts is a
// correct envelope, and comes back unchanged in both modes.
func FuzzDecodeEnvelope(f *testing.F) {
	header, body := EncodeStructured(sample())
	f.Add(header["content-type"][0], "", "", body)
	header, body = Encode(sample())
	f.Add("", "ce-greeting", header["ce-greeting"][0], body)
	f.Add("", "CE-Time", "2026-11-24T09:30:00+01:00", []byte(`{}`))
	f.Add("application/cloudevents+json", "x", "y", []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":"a","n":7}`))
	f.Add("text/plain", "ce-subject", "%C0%A0", []byte("\xff"))
	f.Fuzz(func(t *testing.T, media, name, value string, body []byte) {
		h := map[string][]string{
			"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"},
		}
		if media != "" {
			h["Content-Type"] = []string{media}
		}
		h[name] = []string{value}
		e, err := Decode(h, body)
		if err != nil {
			if fault.From(err).Reason != fault.Malformed {
				t.Fatalf("a refusal that is not malformed: %v", err)
			}
			return
		}
		if err := e.Check(); err != nil {
			t.Fatalf("Decode accepted what Check refuses: %v", err)
		}
		comesBack(t, e)
	})
}

// comesBack demands that both modes carry the envelope, whose optional parts
// have one form: no data is nil, and the default content type is written out.
func comesBack(t *testing.T, e Envelope) {
	t.Helper()
	if len(e.Data) == 0 {
		e.Data = nil
	}
	e.DataContentType = contentType(e)
	e.Time = e.Time.UTC()
	if isEventMedia(e.DataContentType) {
		return // an event inside an event
	}
	if year := e.Time.Year(); year < 0 || year > 9999 {
		return // RFC 3339 has four digits
	}
	for mode, encode := range modes() {
		if mode == "structured" && isJSON(e.DataContentType) && jsontext.Value(e.Data).IsValid() {
			e.Data = json.RawMessage(strings.TrimSpace(string(e.Data)))
		}
		got, err := Decode(encode(e))
		if err != nil {
			t.Fatalf("%s mode: what was written is not read: %v", mode, err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Fatalf("%s mode changed the event:\n%s", mode, diff)
		}
	}
}

// FuzzHeaderCodec: every text survives the header, and what the header holds is
// printable ASCII.
func FuzzHeaderCodec(f *testing.F) {
	for _, seed := range []string{"", "Euro € 😀", `"quoted"`, "100%", "%41", "%zz", "\x00\n", "\xff", `a\"b`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value := escape(text)
		for i := range len(value) {
			if c := value[i]; c <= ' ' || c >= 0x7f || c == '"' {
				t.Fatalf("%q became %q, which holds %q", text, value, c)
			}
		}
		if got := unescape(value); got != text {
			t.Fatalf("%q became %q and then %q", text, value, got)
		}
		if quoted := `"` + value + `"`; unescape(quoted) != unquote(text) && !strings.Contains(text, `\`) {
			t.Fatalf("%q in quotes became %q", value, unescape(quoted))
		}
		unescape(text) // raw values of the SDK: anything goes, without a panic
		if checkText("x", text) == nil && !utf8.ValidString(text) {
			t.Fatalf("%q passed as UTF-8", text)
		}
	})
}

// FuzzSubjectToken: a subject that is made from legal tokens is read back, and
// no text makes a subject of another shape.
func FuzzSubjectToken(f *testing.F) {
	f.Add("botstar.widget.open", "shop", "abc")
	f.Add("botstar.widget.*", "shop.x", ">")
	f.Add("a.b.c", "-", "")
	f.Fuzz(func(t *testing.T, action, site, session string) {
		want := Address{Class: ClassWrite, Action: action, Site: site, Session: session}
		legal := IsAction(action) && IsToken(site) && IsToken(session)
		for _, subject := range []string{
			CommandSubject(ClassWrite, action, site, session),
			WorkflowCommandSubject(ClassWrite, action, site, session),
			DueCommandSubject(ClassWrite, action, site, session),
			"cq.7." + CommandSubject(ClassWrite, action, site, session)[len("cmd."):],
		} {
			got, err := ParseCommandSubject(subject)
			if legal && (err != nil || got != want) {
				t.Fatalf("%q was read as %+v, %v", subject, got, err)
			}
			if err == nil && (!IsAction(got.Action) || !IsToken(got.Site) || !IsToken(got.Session)) {
				t.Fatalf("%q was accepted as %+v", subject, got)
			}
			if err == nil && strings.ContainsAny(subject, "*> \t\r\n") {
				t.Fatalf("%q holds a wildcard or a space, and was accepted", subject)
			}
		}
		filter, err := QueueFilter(action)
		if err == nil && len(strings.Split(filter, ".")) != 8 {
			t.Fatalf("%q gives the filter %q", action, filter)
		}
		if key := SessionKey(site, Visitor{UserID: session}); !IsToken(key) {
			t.Fatalf("the session key %q is no token", key)
		}
	})
}

// FuzzDecodeCommand: what passes the schema is what encoding/json reads from
// the same text, and every refusal is classified.
func FuzzDecodeCommand(f *testing.F) {
	s := published(f)
	for _, seed := range []string{
		`{"site":"shop","visitor":{"user_id":"u"},"params":{"mode":"popup"}}`,
		`{"site":"shop","visitor":{"email":"e"},"auto_boot":false,"timeout_ms":5e3}`,
		`{"site":"shop","visitor":{"user_id":"u"},"params":{"user":{"tags":["a"],"x":1}},"alias":"Boot"}`,
		`{"site":"shop","site":"shop"}`, `{"__proto__":1}`, `[[[[`, "{\"site\":\"\xff\"}", `{"SITE":"shop"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e := Envelope{ID: "1", Source: "/s", Type: CommandType("botstar.widget.boot"), Data: data}
		got, err := s.DecodeCommand(e)
		if err != nil {
			if reason := fault.From(err).Reason; reason != fault.Malformed && reason != fault.SchemaViolation {
				t.Fatalf("the refusal is not classified: %v", err)
			}
			if !utf8.ValidString(err.Error()) {
				t.Fatalf("the refusal is not UTF-8: %q", err)
			}
			return
		}
		var want Command
		if err := json.Unmarshal(data, &want); err != nil && !strings.Contains(err.Error(), "number") {
			t.Fatalf("encoding/json refuses what passed: %v", err)
		} else if err == nil {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("the command was read wrongly (-encoding/json +ours):\n%s", diff)
			}
		}
		if got.Visitor.Key() == "" || !IsToken(got.Site) {
			t.Fatalf("a command for nobody or nowhere passed: %+v", got)
		}
	})
}
