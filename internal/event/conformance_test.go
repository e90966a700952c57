package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	sdk "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/fault"
)

// The tests here are the conformance table of the NATS binding, row for row.

// headers returns the headers of a small binary message, with others over them.
func headers(others ...string) map[string][]string {
	h := map[string][]string{
		"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"},
	}
	for i := 0; i < len(others); i += 2 {
		h[others[i]] = []string{others[i+1]}
	}
	return h
}

// Rows 1 and 2.
func TestHeaderValuesAreEncoded(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"Euro € 😀":       "Euro%20%E2%82%AC%20%F0%9F%98%80",
		`"`:              "%22",
		"%":              "%25",
		`say "100%" now`: "say%20%22100%25%22%20now",
		"a/b?c=d&e!~'()": "a/b?c=d&e!~'()",
		"":               "",
		"\x7f":           "%7F",
		"\t":             "%09",
	} {
		if got := escape(value); got != want {
			t.Errorf("escape(%q) = %q, want %q", value, got, want)
		}
	}
	header, _ := Encode(Envelope{ID: "1", Source: "/s", Type: "t", Subject: "Euro € 😀"})
	if got, want := header["ce-subject"], []string{"Euro%20%E2%82%AC%20%F0%9F%98%80"}; !cmp.Equal(got, want) {
		t.Errorf("ce-subject is %q, want %q", got, want)
	}
}

// Rows 3, 4, 5 and 10.
func TestHeaderValuesAreDecoded(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"Euro%20%e2%82%ac%20%f0%9f%98%80": "Euro € 😀", // lower-case hex
		"%61%62c":                         "abc",      // encoded without need
		`"Euro € 😀"`:                      "Euro € 😀", // in double quotes
		`"a \"b\" \\ c"`:                  `a "b" \ c`,
		`"%E2%82%AC"`:                     "€",
		"Euro € 😀":                        "Euro € 😀",  // raw, as the SDK writes
		"100% sure":                       "100% sure", // raw, and no percent sequence
		"50%":                             "50%",
		"5%2":                             "5%2",
		"5%zz":                            "5%zz",
		`say "hi"`:                        `say "hi"`,
		`"`:                               `"`,
		`""`:                              "",
		"%2541":                           "%41", // decoded once, not twice
	} {
		got, err := Decode(headers("ce-subject", raw), nil)
		if err != nil || got.Subject != want {
			t.Errorf("%q was read as %q, %v, want %q", raw, got.Subject, err, want)
		}
	}
}

// Row 6, and what CloudEvents forbids in a string.
func TestBrokenAttributesAreRefused(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"%C0%A0", "%FF", "%ED%A0%80", "\xc0\xa0", // not UTF-8
		"%00", "%0A", "%0D%0A", "a%1Fb", "%7F", "%C2%85", "\x01", // control characters
		"%EF%BF%BE", "%EF%BF%BF", "%EF%B7%90", // noncharacters
	} {
		for _, name := range []string{"ce-subject", "ce-greeting", "ce-id"} {
			wantMalformed(t, headers(name, raw), nil, strings.TrimPrefix(name, "ce-"))
		}
	}
}

// Row 7.
func TestBinaryModeCarriesEverything(t *testing.T) {
	t.Parallel()
	header, body := Encode(sample())
	want := map[string][]string{
		"ce-specversion":     {"1.0"},
		"ce-id":              {"018f-1"},
		"ce-source":          {"/publisher/cli"},
		"ce-type":            {"chat.parley.command.botstar.widget.open.v1"},
		"ce-subject":         {"shop/u-42"},
		"ce-time":            {"2026-11-24T09:30:00.123456789Z"},
		"ce-dataschema":      {"https://parley.chat/schemas/v1/command/botstar.widget.open.schema.json"},
		"ce-datacontenttype": {"application/json"},
		"ce-partitionkey":    {"u-42"},
		"ce-expirytime":      {"2026-11-24T09:31:00Z"},
		"ce-traceparent":     {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		"ce-greeting":        {"Euro%20%E2%82%AC%20%F0%9F%98%80%20%22100%25%22"},
		"traceparent":        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	}
	if diff := cmp.Diff(want, header); diff != "" {
		t.Errorf("the headers are not as wanted (-want +got):\n%s", diff)
	}
	if !bytes.Equal(body, sample().Data) {
		t.Errorf("the body is %q, want the data bytes", body)
	}
	bare, _ := Encode(Envelope{ID: "1", Source: "/s", Type: "t"})
	if diff := cmp.Diff(headers("ce-datacontenttype", "application/json"), bare); diff != "" {
		t.Errorf("the least event has other headers (-want +got):\n%s", diff)
	}
}

// Row 8.
func TestStructuredModeSaysSo(t *testing.T) {
	t.Parallel()
	header, body := EncodeStructured(sample())
	if got := header["content-type"]; !cmp.Equal(got, []string{"application/cloudevents+json"}) {
		t.Errorf("content-type is %q", got)
	}
	if !json.Valid(body) {
		t.Errorf("the body is not JSON: %s", body)
	}
}

// Row 9.
func TestContentTypeDecidesTheMode(t *testing.T) {
	t.Parallel()
	_, structured := EncodeStructured(sample())
	for _, name := range []string{"content-type", "Content-Type", "CONTENT-TYPE", "content-Type"} {
		for _, media := range []string{
			"Application/CloudEvents+JSON", "application/cloudevents+json; charset=UTF-8",
			`application/cloudevents+json;charset="utf-8"`, "application/cloudevents",
		} {
			// The headers of binary mode do not count beside it.
			got, err := Decode(headers(name, media, "ce-id", "other"), structured)
			if err != nil || got.ID != sample().ID {
				t.Errorf("%s: %s gave %q, %v", name, media, got.ID, err)
			}
		}
	}
	for _, media := range []string{"application/json", "text/plain", "application/cloud", ""} {
		got, err := Decode(headers("content-type", media), []byte(`{}`))
		if err != nil || got.ID != "1" || got.DataContentType != media {
			t.Errorf("%s gave %+v, %v, want binary mode", media, got, err)
		}
	}
}

// Row 10: the SDK writes header values raw, and the content type as a header of
// its own.
func TestBinaryMessageOfTheSDK(t *testing.T) {
	t.Parallel()
	header := headers("ce-subject", "50% off: Euro € 😀", "ce-time", "2026-11-24T09:30:00Z", "ce-partitionkey", "42",
		"content-type", "application/json")
	got, err := Decode(header, []byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Envelope{
		ID: "1", Source: "/s", Type: "t", Subject: "50% off: Euro € 😀", DataContentType: "application/json",
		Time:       time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC),
		Extensions: map[string]string{"partitionkey": "42"}, Data: json.RawMessage(`{"a":1}`),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the SDK's event was read wrongly (-want +got):\n%s", diff)
	}
}

// Row 11.
func TestStructuredMessageOfTheSDK(t *testing.T) {
	t.Parallel()
	made := sdk.New()
	made.SetID("1")
	made.SetSource("/s")
	made.SetType("t")
	made.SetSubject("Euro € 😀")
	made.SetTime(time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC))
	made.SetExtension("count", 7)
	made.SetExtension("flag", true)
	if err := made.SetData("application/json", map[string]any{"a": 1}); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(map[string][]string{"Nats-Msg-Id": {"x"}}, body)
	if err != nil {
		t.Fatal(err)
	}
	want := Envelope{
		ID: "1", Source: "/s", Type: "t", Subject: "Euro € 😀", DataContentType: "application/json",
		Time:       time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC),
		Extensions: map[string]string{"count": "7", "flag": "true"}, Data: json.RawMessage(`{"a":1}`),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the SDK's event was read wrongly (-want +got):\n%s", diff)
	}
}

// Row 12.
func TestHeaderNamesHaveNoCase(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Ce-Id", "CE-ID", "ce-id", "cE-iD"} {
		header := headers(name, "42")
		if name != "ce-id" {
			delete(header, "ce-id")
		}
		got, err := Decode(header, nil)
		if err != nil || got.ID != "42" {
			t.Errorf("%s gave %q, %v", name, got.ID, err)
		}
		if name == "ce-id" {
			continue
		}
		header["ce-id"] = []string{"42"}
		if _, err := Decode(header, nil); err != nil {
			t.Errorf("%s and ce-id with the same value: %v", name, err)
		}
		header["ce-id"] = []string{"43"}
		wantMalformed(t, header, nil, "ce-id")
	}
	got, err := Decode(headers("CE-PartitionKey", "k"), nil)
	if err != nil || got.Extension(ExtPartitionKey) != "k" {
		t.Errorf("CE-PartitionKey gave %v, %v", got.Extensions, err)
	}
}

// Row 13, and the other formats that we do not read.
func TestOtherFormatsAreRefused(t *testing.T) {
	t.Parallel()
	for media, says := range map[string]string{
		"application/cloudevents-batch+json":             "batch",
		"Application/CloudEvents-Batch+JSON; charset=x":  "batch",
		"application/cloudevents+avro":                   "format",
		"application/cloudevents+json; charset=latin1":   "UTF-8",
		"application/cloudevents+json-but-not-really":    "format",
		"application/cloudevents-something-of-the-sort+": "format",
	} {
		wantMalformed(t, headers("content-type", media), []byte(`[]`), says)
	}
}

// Row 14.
func TestLargeEventsPassUnchanged(t *testing.T) {
	t.Parallel()
	want := sample()
	want.Data = json.RawMessage(`{"text":"` + strings.Repeat("ä", 32<<10-6) + `"}`)
	want.Extensions["long"] = strings.Repeat("€", 1000)
	if len(want.Data) < 64<<10-16 {
		t.Fatalf("the data has %d bytes only", len(want.Data))
	}
	for name, encode := range modes() {
		got, err := Decode(encode(want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s mode changed the event:\n%.300s", name, diff)
		}
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"specversion", "id", "source", "type"} {
		header := headers()
		delete(header, "ce-"+name)
		wantMalformed(t, header, []byte(`{}`), name)
		header["ce-"+name] = []string{""}
		wantMalformed(t, header, []byte(`{}`), name)

		members := map[string]any{"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": map[string]any{}}
		delete(members, name)
		wantMalformed(t, eventJSON(), document(t, members), name)
		members[name] = nil
		wantMalformed(t, eventJSON(), document(t, members), name)
	}
	wantMalformed(t, nil, nil, "specversion")
	wantMalformed(t, headers("ce-specversion", "0.3"), nil, "0.3")
}

func TestBadMessagesAreRefused(t *testing.T) {
	t.Parallel()
	base := func(others map[string]any) map[string]any {
		members := map[string]any{"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
		maps.Copy(members, others)
		return members
	}
	for says, members := range map[string]map[string]any{
		"time":              base(map[string]any{"time": "yesterday"}),
		"both data and":     base(map[string]any{"data": 1, "data_base64": "AA=="}),
		"data_base64":       base(map[string]any{"data_base64": "***"}),
		"Bad_Name":          base(map[string]any{"Bad_Name": "x"}),
		"object":            base(map[string]any{"object": map[string]any{}}),
		"list":              base(map[string]any{"list": []int{1}}),
		"fraction":          base(map[string]any{"fraction": 1.5}),
		"toolarge":          base(map[string]any{"toolarge": 1 << 40}),
		"control":           base(map[string]any{"control": "a\nb"}),
		"0.3":               base(map[string]any{"specversion": "0.3"}),
		"not valid UTF-8":   base(map[string]any{"data_base64": "/w=="}),
		"specversion \"1\"": base(map[string]any{"specversion": 1}),
	} {
		wantMalformed(t, eventJSON(), document(t, members), says)
	}
	for body, says := range map[string]string{
		`[]`: "object", `{`: "JSON", ``: "JSON", `null`: "object", "{\"id\":\"\xff\"}": "UTF-8", `{"specversion":"1.0"`: "JSON",
		`{"specversion":"1.0","id":"1","id":"2","source":"/s","type":"t"}`: "id",
	} {
		wantMalformed(t, eventJSON(), []byte(body), says)
	}
	wantMalformed(t, headers("ce-time", "24.11.2026"), nil, "24.11.2026")
	wantMalformed(t, headers("ce-foo_bar", "x"), nil, "foo_bar")
	wantMalformed(t, headers("ce-data", "x"), nil, "data")
	wantMalformed(t, headers(), []byte("\"\xff\""), "UTF-8")
	wantMalformed(t, map[string][]string{
		"ce-specversion": {"1.0"}, "ce-id": {"1", "2"}, "ce-source": {"/s"}, "ce-type": {"t"},
	}, nil, "ce-id")
}

func TestOtherContentTypes(t *testing.T) {
	t.Parallel()
	for _, want := range []Envelope{
		{ID: "1", Source: "/s", Type: "t", DataContentType: "text/plain", Data: []byte(`"quoted" text`)},
		{ID: "1", Source: "/s", Type: "t", DataContentType: "application/octet-stream", Data: []byte{0, 255, 10}},
		{ID: "1", Source: "/s", Type: "t", DataContentType: "application/json", Data: []byte(`{broken`)},
		{ID: "1", Source: "/s", Type: "t", DataContentType: "application/vnd.x+json; charset=utf-8", Data: []byte(`{"a":"<>&"}`)},
		{ID: "1", Source: "/s", Type: "t", DataContentType: "application/json"},
	} {
		for name, encode := range modes() {
			got, err := Decode(encode(want))
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%s mode, %s: %v\n%s", name, want.DataContentType, err, diff)
			}
		}
	}
	// The JSON format lets text travel as a string.
	got, err := Decode(eventJSON(), []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":"a \"b\""}`))
	if err != nil || string(got.Data) != `a "b"` {
		t.Errorf("text came as %q, %v", got.Data, err)
	}
}

// wantMalformed demands that Decode refuses the message, and says why.
func wantMalformed(t *testing.T, header map[string][]string, body []byte, says string) {
	t.Helper()
	got, err := Decode(header, body)
	if !errors.Is(err, fault.New(fault.Malformed, "")) {
		t.Errorf("%q %q gave %+v, %v, want a malformed message", header, body, got, err)
		return
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("%q %q gave %q, which does not say %q", header, body, err, says)
	}
	if fault.From(err).Fix == "" {
		t.Errorf("%q has no fix", err)
	}
}

func eventJSON() map[string][]string {
	return map[string][]string{"Content-Type": {"application/cloudevents+json"}}
}

func document(t *testing.T, members map[string]any) []byte {
	t.Helper()
	body, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func modes() map[string]func(Envelope) (map[string][]string, []byte) {
	return map[string]func(Envelope) (map[string][]string, []byte){"binary": Encode, "structured": EncodeStructured}
}
