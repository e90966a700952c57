package segment

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

const (
	secret = "s3cret"
	// Written as JSON.stringify does: what Go's encoder would escape stays.
	one = `{"messageId":"m-1","type":"track","userId":"u-1","event":"a<b>&c","properties":{"z":1.0,"a":1e21},"timestamp":"2026-11-25T09:00:00.000Z"}`
	two = `{"messageId":"m-2","type":"page","anonymousId":"a-2","name":"Pricing"}`
)

// sign is Segment's signature of the text.
func sign(key, text string) string {
	mac := hmac.New(sha1.New, []byte(key))
	_, _ = mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

func newSource(t testing.TB, secrets ...string) *Source {
	t.Helper()
	settings := ingest.Settings{Name: "web", Type: Provider}
	for _, s := range secrets {
		settings.Secrets = append(settings.Secrets, []byte(s))
	}
	source, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func request(body string, token bool, signatures ...string) *ingest.Request {
	h := http.Header{"Content-Type": {"application/json"}}
	if len(signatures) > 0 {
		h["X-Signature"] = signatures
	}
	return &ingest.Request{Method: http.MethodPost, Header: h, Type: ingest.MediaJSON, Body: []byte(body), Token: token, At: time.Now()}
}

// TestReceive tests what is proved, and how far.
func TestReceive(t *testing.T) {
	t.Parallel()
	const full, first, path = event.AuthenticFull, event.AuthenticFirst, event.AuthenticPath
	both := "[" + one + "," + two + "]"
	basic := request(both, false)
	basic.Header.Set("Authorization", "Basic czNjcmV0Og==") // s3cret:
	password := request(both, false)
	password.Header.Set("Authorization", "Basic czNjcmV0OmE=") // s3cret:a
	tests := map[string]struct {
		secrets []string
		open    bool
		request *ingest.Request
		want    []event.Authenticity // nil is refused
	}{
		"one, signed":                              {[]string{secret}, false, request(one, false, sign(secret, one)), []event.Authenticity{full}},
		"one, signed, and a token":                 {[]string{secret}, false, request(one, true, sign(secret, one)), []event.Authenticity{full}},
		"a batch of one":                           {[]string{secret}, false, request(" [ "+one+" ]\n", false, sign(secret, one)), []event.Authenticity{full}},
		"a batch, and a token":                     {[]string{secret}, false, request(both, true, sign(secret, one)), []event.Authenticity{full, first}},
		"a batch without a token":                  {[]string{secret}, false, request(both, false, sign(secret, one)), nil},
		"a batch signed as a whole":                {[]string{secret}, false, request(both, true, sign(secret, both)), nil},
		"a batch signed by its second":             {[]string{secret}, false, request(both, true, sign(secret, two)), nil},
		"an empty batch, signed":                   {[]string{secret}, false, request("[]", true, sign(secret, "")), nil},
		"the old key during a rotation":            {[]string{"new", secret}, false, request(one, false, sign(secret, one)), []event.Authenticity{full}},
		"the new key during a rotation":            {[]string{"new", secret}, false, request(one, false, sign("new", one)), []event.Authenticity{full}},
		"the old key after a rotation":             {[]string{"new"}, false, request(one, false, sign(secret, one)), nil},
		"another source's key":                     {[]string{secret}, false, request(one, false, sign("other", one)), nil},
		"no signature":                             {[]string{secret}, false, request(one, false), nil},
		"no signature but a token":                 {[]string{secret}, false, request(one, true), nil},
		"an empty signature":                       {[]string{secret}, false, request(one, false, ""), nil},
		"two signatures":                           {[]string{secret}, false, request(one, false, sign(secret, one), sign(secret, one)), nil},
		"upper case":                               {[]string{secret}, false, request(one, false, strings.ToUpper(sign(secret, one))), nil},
		"truncated":                                {[]string{secret}, false, request(one, false, sign(secret, one)[:38]), nil},
		"a new line at the end":                    {[]string{secret}, false, request(one+"\n", false, sign(secret, one)), nil},
		"encoded again":                            {[]string{secret}, false, request(again(t, one), false, sign(secret, one)), nil},
		"an empty secret signs nothing":            {[]string{""}, false, request(one, false, sign("", one)), nil},
		"a token is enough without secrets":        {nil, false, request(both, true), []event.Authenticity{path, path}},
		"a signature that nobody can check":        {nil, false, request(one, false, sign(secret, one)), nil},
		"a source that is open":                    {nil, true, request(both, false), []event.Authenticity{"", ""}},
		"an open source with a secret":             {[]string{secret}, true, request(one, false), nil},
		"a partner subscription":                   {[]string{secret}, false, basic, []event.Authenticity{path, path}},
		"a partner subscription with a password":   {[]string{secret}, false, password, nil},
		"a partner subscription of another source": {[]string{"other"}, false, basic, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSource(t, test.secrets...)
			s.settings.Open = test.open
			got, err := s.Receive(t.Context(), test.request)
			if test.want == nil {
				if e := fault.From(err); e == nil || e.Reason != fault.NotAuthentic || strings.Contains(e.Error()+e.Fix, secret) {
					t.Fatalf("the error is %v, the items are %v; want not_authentic", err, got.Items)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var by []event.Authenticity
			for _, item := range got.Items {
				by = append(by, item.Authenticated)
				if item.Err != nil {
					t.Errorf("%s is wrong: %s", item.ID, item.Err)
				}
			}
			if diff := cmp.Diff(test.want, by); diff != "" {
				t.Errorf("proved (-want +got):\n%s", diff)
			}
		})
	}
}

// again writes the JSON as Go's encoder does, which is not as it was signed.
func again(t *testing.T, text string) string {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(value)
	if err != nil || string(out) == text {
		t.Fatalf("the text is the same again: %s, %v", out, err)
	}
	return string(out)
}

// TestReceiveItems tests that a wrong event of a batch is an item with a pointer,
// and spoils no other.
func TestReceiveItems(t *testing.T) {
	t.Parallel()
	body := "[" + strings.Join([]string{
		one, `{"messageId":"m","type":"track","userId":"u","event":"E","a":1,"a":2}`, two, `7`, `{"type":"track","userId":"u","event":"E"}`,
		`{"messageId":"m","type":"track","event":"E"}`, `{"type":"alias","messageId":"m","Previous ID":"p","User ID":"u"}`,
	}, ",") + "]"
	got, err := newSource(t).Receive(t.Context(), request(body, true))
	if err != nil {
		t.Fatal(err)
	}
	type fate struct{ ID, Kind, Pointer string }
	want := []fate{
		{"m-1", "track", ""},
		{"", "", "/1/a"},
		{"m-2", "page", ""},
		{"", "", "/3"},
		{"", "track", "/4/messageId"},
		{"m", "track", "/5/userId"},
		{"m", "alias", ""},
	}
	var fates []fate
	for i, item := range got.Items {
		f := fate{ID: item.ID, Kind: item.Kind}
		if item.Err != nil {
			f.Pointer = fault.From(item.Err).Field
		}
		fates = append(fates, f)
		if !strings.Contains(body, string(item.Raw)) || len(item.Raw) == 0 {
			t.Errorf("item %d shows %q", i, item.Raw)
		}
	}
	if diff := cmp.Diff(want, fates); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
}

func TestReceiveRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body   string
		reason fault.Reason
	}{
		"too many events": {"[" + strings.Repeat("1,", maxBatch) + "1]", fault.TooLarge},
		"no end":          {"[" + one, fault.Malformed},
		"two arrays":      {"[] []", fault.Malformed},
	} {
		_, err := newSource(t).Receive(t.Context(), request(test.body, true))
		if e := fault.From(err); e == nil || e.Reason != test.reason {
			t.Errorf("%s: the error is %v, want %s", name, err, test.reason)
		}
	}
	got, err := newSource(t).Receive(t.Context(), request("["+strings.Repeat(one+",", maxBatch-1)+one+"]", true))
	if err != nil || len(got.Items) != maxBatch {
		t.Errorf("a full batch has %d items: %v", len(got.Items), err)
	}
}

func TestNewRefusesAMapping(t *testing.T) {
	t.Parallel()
	_, err := New(ingest.Settings{Name: "web", Mapping: map[string]string{"id": "x"}})
	if e := fault.From(err); e == nil || e.Reason != fault.BadConfig {
		t.Errorf("the error is %v, want bad_config", err)
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	var methods []string
	for _, route := range newSource(t).Routes() {
		methods = append(methods, route.Method)
		if route.Lenient || len(route.Types) != 1 || route.Types[0] != ingest.MediaJSON || route.Path != "" {
			t.Errorf("the route is %+v", route)
		}
	}
	if diff := cmp.Diff([]string{"POST", "PUT", "PATCH"}, methods); diff != "" {
		t.Errorf("methods (-want +got):\n%s", diff)
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	wrong := fault.New(fault.SchemaViolation, "is no time").At("/timestamp").WithFix("write RFC 3339")
	ok, bad := ingest.Result{ID: "a"}, ingest.Result{ID: "b", Rejected: wrong}
	const text = `/timestamp: is no time; write RFC 3339`
	tests := map[string]struct {
		outcome ingest.Outcome
		status  int
		body    string
		after   string
	}{
		"stored":           {ingest.Outcome{Results: []ingest.Result{ok}}, 200, `{"success":true}`, ""},
		"a duplicate":      {ingest.Outcome{Results: []ingest.Result{{Duplicate: true}}}, 200, `{"success":true}`, ""},
		"an empty batch":   {ingest.Outcome{}, 200, `{"success":true}`, ""},
		"a conflict":       {ingest.Outcome{Results: []ingest.Result{{Conflict: true}}}, 400, `{"message":"another event was received under this messageId"}`, ""},
		"one, rejected":    {ingest.Outcome{Results: []ingest.Result{bad}}, 400, `{"message":"` + text + `"}`, ""},
		"one of two wrong": {ingest.Outcome{Results: []ingest.Result{ok, bad}}, 200, `{"results":[{"status":200},{"status":400,"errormessage":"` + text + `"}]}`, ""},
		"all wrong": {
			ingest.Outcome{Results: []ingest.Result{bad, bad}},
			400,
			`{"message":"no event of the batch could be read","results":[{"status":400,"errormessage":"` + text + `"},{"status":400,"errormessage":"` + text + `"}]}`, "",
		},
		"forged":      {ingest.Outcome{Err: ingest.Forbidden("no").WithFix("")}, 401, `{"message":"no"}`, ""},
		"too large":   {ingest.Outcome{Err: fault.New(fault.TooLarge, "big").WithFix("")}, 400, `{"message":"big"}`, ""},
		"over quota":  {ingest.Outcome{Err: ingest.Later(fault.QuotaExhausted, 1500*time.Millisecond, "much").WithFix("")}, 429, `{"message":"much"}`, "2"},
		"maintenance": {ingest.Outcome{Err: ingest.Later(fault.Maintenance, time.Minute, "soon").WithFix("")}, 503, `{"message":"soon"}`, "60"},
		"too slow":    {ingest.Outcome{Err: fault.New(fault.DeadlineExceeded, "slow").WithFix("")}, 503, `{"message":"slow"}`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := newSource(t).Answer(request(one, true), test.outcome)
			if body := strings.TrimSpace(string(got.Body)); got.Status != test.status || body != test.body || got.Header.Get("Retry-After") != test.after {
				t.Errorf("the answer is %d %s, Retry-After %q; want %d %s, %q",
					got.Status, body, got.Header.Get("Retry-After"), test.status, test.body, test.after)
			}
		})
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte(one), sign(secret, one), true)
	f.Add([]byte("["+one+","+two+"]"), sign(secret, one), false)
	f.Add([]byte(`[[],{}]`), "", true)
	f.Fuzz(func(t *testing.T, body []byte, signature string, token bool) {
		s := newSource(t, secret)
		got, err := s.Receive(t.Context(), request(string(body), token, signature))
		if err != nil {
			return
		}
		for i, item := range got.Items {
			raw := string(item.Raw)
			switch {
			case item.Authenticated == event.AuthenticFull && sign(secret, raw) != signature:
				t.Fatalf("event %d is fully proved without a signature: %s", i, raw)
			case item.Authenticated == event.AuthenticFirst && !token:
				t.Fatalf("event %d is proved by nothing: %s", i, raw)
			case item.Err == nil && (item.ID == "" || item.Trigger.Visitor.Key() == ""):
				t.Fatalf("event %d passed without an id or a visitor: %s", i, raw)
			}
		}
		results := make([]ingest.Result, len(got.Items))
		if reply := s.Answer(request(string(body), token), ingest.Outcome{Results: results}); reply.Status != http.StatusOK {
			t.Fatalf("the answer is %s", strconv.Itoa(reply.Status))
		}
	})
}
