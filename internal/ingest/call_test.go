package ingest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

func TestCall(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 9, 0, 0, 500_000_000, time.UTC)
	yes, no := true, false
	tests := map[string]struct {
		body, kind string
		want       Item
	}{
		"track": {
			`{"type":"track","messageId":"m-1","userId":"u-1","anonymousId":"a-1","event":"Pricing Viewed",
			  "properties":{"plan":"pro","n":12345678901234567890},"context":{"page":{"url":"https://shop.test/pricing"},"traits":{"email":"Ann@Shop.test","vip":true}},
			  "timestamp":"2026-11-25T09:00:00.5Z","sentAt":"2026-11-25T09:00:09Z","receivedAt":"2026-11-25T09:00:10Z"}`, "",
			Item{ID: "m-1", Kind: "track", Trigger: event.Trigger{
				Visitor: event.Visitor{UserID: "u-1", AnonymousID: "a-1", Email: "Ann@Shop.test"}, Event: "Pricing Viewed",
				Properties: map[string]any{"plan": "pro", "n": json.Number("12345678901234567890")},
				Traits:     map[string]any{"email": "Ann@Shop.test", "vip": true},
				URL:        "https://shop.test/pricing", OccurredAt: at,
			}},
		},
		"the address says the kind": {
			`{"messageId":"m","userId":"u","event":"Signed Up","type":"identify"}`, "track",
			Item{ID: "m", Kind: "track", Trigger: event.Trigger{Visitor: event.Visitor{UserID: "u"}, Event: "Signed Up"}},
		},
		"identify, own traits over the context's": {
			`{"type":"identify","messageId":"m","userId":7,"traits":{"Email":"a@b.test","plan":"pro"},"context":{"traits":{"plan":"free","age":3}}}`, "",
			Item{ID: "m", Kind: "identify", Trigger: event.Trigger{
				Visitor: event.Visitor{UserID: "7", Email: "a@b.test"}, Event: "identify",
				Traits: map[string]any{"Email": "a@b.test", "plan": "pro", "age": json.Number("3")},
			}},
		},
		"snake case": {
			`{"type":"Track","message_id":"m","user_id":"u","anonymous_id":"a","event":"E","original_timestamp":"2026-11-25T10:00:00.500+01:00"}`, "",
			Item{ID: "m", Kind: "track", Trigger: event.Trigger{Visitor: event.Visitor{UserID: "u", AnonymousID: "a"}, Event: "E", OccurredAt: at}},
		},
		"the alias of the webhook page": {
			`{"type":"alias","messageId":"m","Previous ID":"anon-9","User ID":"u"}`, "",
			Item{ID: "m", Kind: "alias", Trigger: event.Trigger{
				Visitor: event.Visitor{UserID: "u"}, Previous: &event.Visitor{UserID: "anon-9", AnonymousID: "anon-9"}, Event: "alias",
			}},
		},
		"the spec's spelling wins": {
			`{"type":"track","messageId":"m","MESSAGEID":"x","message_id":"y","userId":"u","event":"E"}`, "",
			Item{ID: "m", Kind: "track", Trigger: event.Trigger{Visitor: event.Visitor{UserID: "u"}, Event: "E"}},
		},
		"page": {
			`{"type":"page","messageId":"m","anonymousId":"a","name":"Pricing","properties":{"url":"https://shop.test/p"}}`, "",
			Item{ID: "m", Kind: "page", Trigger: event.Trigger{
				Visitor: event.Visitor{AnonymousID: "a"}, Event: "Pricing", URL: "https://shop.test/p",
				Properties: map[string]any{"url": "https://shop.test/p"},
			}},
		},
		"a page without a name": {
			`{"type":"page","messageId":"m","anonymousId":"a"}`, "",
			Item{ID: "m", Kind: "page", Trigger: event.Trigger{Visitor: event.Visitor{AnonymousID: "a"}, Event: "page"}},
		},
		"group: the traits are the group's": {
			`{"type":"group","messageId":"m","userId":"u","groupId":"g","traits":{"email":"info@acme.test"},"context":{"traits":{"x":1}}}`, "",
			Item{ID: "m", Kind: "group", Trigger: event.Trigger{
				Visitor: event.Visitor{UserID: "u"}, Event: "group", Group: "g", Traits: map[string]any{"email": "info@acme.test"},
			}},
		},
		"an anonymous id that is the user id": {
			`{"type":"track","messageId":"m","userId":"u","anonymousId":"u","event":"E"}`, "",
			Item{ID: "m", Kind: "track", Trigger: event.Trigger{Visitor: event.Visitor{UserID: "u"}, Event: "E"}},
		},
		"the clock is corrected as the spec says": {
			`{"type":"track","messageId":"m","userId":"u","event":"E","originalTimestamp":"2026-11-25T08:00:00Z","sentAt":"2026-11-25T08:00:10Z","receivedAt":"2026-11-25T09:00:10.5Z"}`, "",
			Item{ID: "m", Kind: "track", Trigger: event.Trigger{Visitor: event.Visitor{UserID: "u"}, Event: "E", OccurredAt: at}},
		},
		"without receivedAt, sentAt has no say": {
			`{"type":"track","messageId":"m","userId":"u","event":"E","originalTimestamp":1795597200500,"sentAt":"2026-11-25T08:00:10Z"}`, "",
			Item{ID: "m", Kind: "track", Trigger: event.Trigger{Visitor: event.Visitor{UserID: "u"}, Event: "E", OccurredAt: at}},
		},
		"consent of Segment": {
			`{"type":"track","messageId":"m","userId":"u","event":"E","context":{"consent":{"categoryPreferences":{"Analytics":true,"Advertising":false,"other":true}}}}`, "",
			Item{ID: "m", Kind: "track", Trigger: event.Trigger{
				Visitor: event.Visitor{UserID: "u"}, Event: "E", Consent: &event.Consent{Analytics: &yes, Advertising: &no},
			}},
		},
		"consent of RudderStack": {
			`{"type":"track","messageId":"m","userId":"u","event":"E","context":{"consentManagement":{"allowedConsentIds":["marketing","functional"],"deniedConsentIds":["marketing"]}}}`, "",
			Item{ID: "m", Kind: "track", Trigger: event.Trigger{
				Visitor: event.Visitor{UserID: "u"}, Event: "E", Consent: &event.Consent{Advertising: &no, Functionality: &yes},
			}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := ParseObject([]byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, Call(o, test.kind)); diff != "" {
				t.Errorf("Call (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCallRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 257)
	tests := map[string]struct{ body, pointer, text string }{
		"no type":                   {`{"messageId":"m","userId":"u"}`, "/type", "no type of call"},
		"another type":              {`{"type":"charge","userId":"u"}`, "/type", "no type of call"},
		"nobody":                    {`{"type":"track","event":"E"}`, "/userId", "no_user_anon_id"},
		"nobody, by null":           {`{"type":"track","event":"E","userId":null}`, "/userId", "no_user_anon_id"},
		"no event":                  {`{"type":"track","userId":"u"}`, "/event", "no name"},
		"no group":                  {`{"type":"group","userId":"u"}`, "/groupId", "names no group"},
		"no previous id":            {`{"type":"alias","userId":"u"}`, "/previousId", "previous"},
		"no new id":                 {`{"type":"alias","anonymousId":"u","previousId":"p"}`, "/previousId", "previous"},
		"a time that is none":       {`{"type":"track","userId":"u","event":"E","timestamp":"yesterday"}`, "/timestamp", "no time"},
		"a time before all":         {`{"type":"track","userId":"u","event":"E","timestamp":"0001-01-01T00:00:00Z"}`, "/timestamp", "no time"},
		"a negative time":           {`{"type":"track","userId":"u","event":"E","original_timestamp":-1}`, "/original_timestamp", "no time"},
		"a long id":                 {`{"type":"track","userId":"` + long + `","event":"E"}`, "/userId", "longer than 256"},
		"a long message id":         {`{"type":"track","userId":"u","event":"E","message_id":"` + long + `"}`, "/message_id", "longer than 256"},
		"an id that is an object":   {`{"type":"track","userId":"u","anonymousId":{},"event":"E"}`, "/anonymousId", "no text"},
		"properties that are none":  {`{"type":"track","userId":"u","event":"E","properties":[1]}`, "/properties", "no object"},
		"spellings that contradict": {`{"type":"track","user_id":"u","UserID":"v","event":"E"}`, "/user_id", "contradicts the member UserID"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := ParseObject([]byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			got := fault.From(Call(o, "").Err)
			if got == nil || got.Reason != fault.SchemaViolation || got.Field != test.pointer || !strings.Contains(got.Message, test.text) || got.Fix == "" {
				t.Errorf("the error is %+v, want %q at %s", got, test.text, test.pointer)
			}
		})
	}
}

// TestCallIsTheSameOnEveryTry: clients write sentAt anew when they try again, and
// an event with another trigger under the same id would be a conflict.
func TestCallIsTheSameOnEveryTry(t *testing.T) {
	t.Parallel()
	var tries []Item
	for _, sent := range []string{"2026-11-25T08:00:10Z", "2026-11-25T11:59:59Z"} {
		o, err := ParseObject([]byte(`{"type":"track","messageId":"m","userId":"u","event":"E","timestamp":"2026-11-25T08:00:00Z","sentAt":"` + sent + `"}`))
		if err != nil {
			t.Fatal(err)
		}
		tries = append(tries, Call(o, ""))
	}
	if diff := cmp.Diff(tries[0], tries[1]); diff != "" {
		t.Errorf("the second try differs (-first +second):\n%s", diff)
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ in, want string }{
		"as it is":         {"https://shop.test/a?b=c#d", "https://shop.test/a?b=c#d"},
		"relative":         {"/a", ""},
		"nothing":          {"", ""},
		"no address":       {"https://[::1", ""},
		"a long query":     {"https://shop.test/a?q=" + strings.Repeat("x", 2048), "https://shop.test/a"},
		"a path too long":  {"https://shop.test/" + strings.Repeat("x", 2048), ""},
		"just long enough": {"https://shop.test/" + strings.Repeat("x", 2030), "https://shop.test/" + strings.Repeat("x", 2030)},
	}
	for name, test := range tests {
		if got := Page(test.in); got != test.want {
			t.Errorf("%s: Page is %q, want %q", name, got, test.want)
		}
	}
}

func TestFormer(t *testing.T) {
	t.Parallel()
	const unknown = "507f191e-810c-4972-9de8-60ea00000000"
	for id, want := range map[string]event.Visitor{
		unknown: {AnonymousID: unknown}, "ann@shop.test": {UserID: "ann@shop.test", Email: "ann@shop.test"}, "42": {UserID: "42", AnonymousID: "42"},
	} {
		if got := Former(id); *got != want {
			t.Errorf("Former(%q) is %+v, want %+v", id, *got, want)
		}
	}
}

func TestEmail(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		" ann@shop.test ": "ann@shop.test", "ann": "", "@shop.test": "", "ann@": "", "a b@shop.test": "", "": "",
		strings.Repeat("x", 320) + "@shop.test": "",
	} {
		if got := Email(in); got != want {
			t.Errorf("Email(%q) is %q, want %q", in, got, want)
		}
	}
}

func TestLoose(t *testing.T) {
	t.Parallel()
	o, err := ParseObject([]byte(`{"page":{"URL":"x","u_r_l":"y"},"Page":{"url":"z"},"n":5}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path []string
		want string
	}{
		{[]string{"page", "url"}, "x"},
		{[]string{"PAGE", "url"}, "z"}, // The first in alphabetical order.
		{[]string{"n"}, "5"},
		{[]string{"n", "url"}, ""},
		{[]string{"none"}, ""},
	} {
		if got := o.LooseText(test.path...); got != test.want {
			t.Errorf("LooseText(%v) is %q, want %q", test.path, got, test.want)
		}
	}
}

func FuzzCall(f *testing.F) {
	f.Add([]byte(`{"type":"track","messageId":"m","userId":"u","event":"E","context":{"page":{"url":"https://a.test"}}}`), "")
	f.Add([]byte(`{"type":"alias","Previous ID":"p","User ID":"u"}`), "alias")
	f.Add([]byte(`{"traits":{"email":1},"context":[],"timestamp":9e9}`), "page")
	f.Fuzz(func(t *testing.T, body []byte, kind string) {
		o, err := ParseObject(body)
		if err != nil {
			return
		}
		first, second := Call(o, kind), Call(o, kind)
		if diff := cmp.Diff(first.Trigger, second.Trigger); diff != "" || (first.Err == nil) != (second.Err == nil) {
			t.Fatalf("one call has two meanings:\n%s", diff)
		}
		if first.Err == nil && (first.Trigger.Event == "" || first.Trigger.Visitor.Key() == "") {
			t.Fatalf("a call without a name or a visitor passed: %+v", first)
		}
		if _, err := json.Marshal(first.Trigger); err != nil {
			t.Fatalf("the trigger cannot be written: %s", err)
		}
	})
}
