package ingest_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

func TestAnEventIsStoredInTheNormalForm(t *testing.T) {
	t.Parallel()
	r := newRig(t, bustest.Start(t), nil, mountPlain(t, "web"))
	a := r.do(http.MethodPost, "/in/web", strings.NewReader(`{
		"id": "m-1", "event": "Pricing Viewed", "user_id": 42, "email": "Ada@example.test", "anonymous_id": "anon-1",
		"url": "https://shop.example.test/de/pricing", "time": "2026-11-25T10:00:00+01:00",
		"properties": {"plan": "pro", "price": 9007199254740993, "zero": -0.0},
		"consent": {"analytics": "GRANTED", "advertising": false}}`), map[string]string{"Sec-GPC": "1"})
	if a.status != http.StatusAccepted || !strings.Contains(a.body, `{"id":"m-1","status":"accepted"}`) {
		t.Fatalf("the answer is %d %s", a.status, a.body)
	}
	all := r.triggers()
	if len(all) != 1 {
		t.Fatalf("%d triggers are stored", len(all))
	}
	got := all[0]
	yes, no := true, false
	want := event.Trigger{
		Site:       "shop-de",
		Visitor:    event.Visitor{UserID: "42", Email: "Ada@example.test", AnonymousID: "anon-1"},
		Previous:   &event.Visitor{AnonymousID: "anon-1"},
		Event:      "Pricing Viewed",
		Properties: got.Properties, URL: "https://shop.example.test/de/pricing",
		OccurredAt: time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC), ReceivedAt: got.ReceivedAt,
		Consent: &event.Consent{Analytics: &yes, Advertising: &no, GPC: &yes},
		Origin:  &event.Origin{Provider: "plain", SourceID: "web", MessageID: "m-1", Authenticated: event.AuthenticPath},
	}
	if diff := cmp.Diff(want, got.Trigger); diff != "" {
		t.Errorf("the trigger differs (-want +got):\n%s", diff)
	}
	if text := string(got.Data); !strings.Contains(text, `"price":9007199254740993`) || !strings.Contains(text, `"zero":-0.0`) {
		t.Errorf("the numbers are not exact: %s", text)
	}
	session := event.SessionKey("shop-de", event.Visitor{UserID: "42"})
	if got.subject != "in.web.track.shop-de."+session || got.Source != "/ingest/plain/web" || got.ID != "m-1" ||
		got.Extension(event.ExtPartitionKey) != session || got.Extension(event.ExtCorrelationID) != "m-1" {
		t.Errorf("the envelope is %+v on %s", got.Envelope, got.subject)
	}
	if age := time.Since(got.ReceivedAt); age < 0 || age > time.Minute {
		t.Errorf("it was received %s ago", age)
	}
}

// TestDuplicatesConflictsAndSources is I1, I2, I3 and I13, scaled: what is sent again
// within the window is stored once, whoever sends it at the same time.
func TestDuplicatesConflictsAndSources(t *testing.T) {
	t.Parallel()
	events, tries := bustest.Count(60, 1250), 8
	r := newRig(t, bustest.Start(t), nil, mountPlain(t, "web"), mountPlain(t, "crm"))
	body := func(i int, plan string) string {
		return fmt.Sprintf(`{"id":"m-%d","event":"Pricing Viewed","user_id":"u-%d","site":"shop","properties":{"plan":%q}}`, i, i%7, plan)
	}
	var senders sync.WaitGroup
	statuses := make([]map[int]int, tries)
	for try := range tries {
		statuses[try] = map[int]int{}
		senders.Go(func() {
			for i := range events {
				statuses[try][r.post("web", body(i, "pro")).status]++
			}
		})
	}
	senders.Wait()
	total := map[int]int{}
	for _, one := range statuses {
		for status, n := range one {
			total[status] += n
		}
	}
	if diff := cmp.Diff(map[int]int{202: events, 200: events * (tries - 1)}, total); diff != "" {
		t.Errorf("the answers differ (-want +got):\n%s", diff)
	}
	for i := range events {
		if a := r.post("web", body(i, "free")); a.status != http.StatusConflict {
			t.Fatalf("another event under the id is answered %d %s", a.status, a.body)
		}
		if a := r.post("crm", body(i, "free")); a.status != http.StatusAccepted {
			t.Fatalf("the id of another source is answered %d %s", a.status, a.body)
		}
	}
	counts := map[string]int{}
	for _, one := range r.triggers() {
		counts[one.Source+" "+one.ID+" "+fmt.Sprint(one.Properties["plan"])]++
	}
	for i := range events {
		for _, key := range []string{"/ingest/plain/web m-%d pro", "/ingest/plain/crm m-%d free"} {
			if n := counts[fmt.Sprintf(key, i)]; n != 1 {
				t.Errorf(key+" is stored %d times", i, n)
			}
		}
	}
	if len(counts) != 2*events {
		t.Errorf("%d events are stored, want %d", len(counts), 2*events)
	}
	if got := r.ledger.of("accepted"); got != 2*events {
		t.Errorf("%d events were counted as accepted", got)
	}
	if got := r.ledger.of("conflict"); got != events {
		t.Errorf("%d conflicts were counted", got)
	}
	list := rejectedOf(t, r.bus)["dead.id_reused.shop.-"]
	if len(list) != events {
		t.Errorf("%d conflicts are on the rejected list", len(list))
	}
}

// TestDuplicateAfterTheWindow shows that the inbox forgets when it is told to,
// and not before.
func TestDuplicateAfterTheWindow(t *testing.T) {
	t.Parallel()
	r := newRig(t, bustest.Open(t, bus.Options{Dir: t.TempDir(), InboxTTL: time.Second}), nil, mountPlain(t, "web"))
	const body = `{"id":"m-1","event":"Pricing Viewed","user_id":"u-1","site":"shop"}`
	if a := r.post("web", body); a.status != http.StatusAccepted {
		t.Fatalf("the answer is %d %s", a.status, a.body)
	}
	if a := r.post("web", body); a.status != http.StatusOK || !strings.Contains(a.body, "duplicate") {
		t.Fatalf("the repetition is answered %d %s", a.status, a.body)
	}
	bustest.Until(t, "the inbox has forgotten the event", func() bool { return r.post("web", body).status == http.StatusAccepted })
	if n := len(r.triggers()); n != 2 {
		t.Errorf("%d triggers are stored", n)
	}
}

// TestWrongEventsAreRejected is I10: what is wrong is answered with a pointer,
// and kept; the others of the same request are taken.
func TestWrongEventsAreRejected(t *testing.T) {
	t.Parallel()
	r := newRig(t, bustest.Start(t), nil, mountPlain(t, "web"))
	long := strings.Repeat("x", 300)
	tests := []struct {
		body, pointer string
		reason        fault.Reason
		site          string
	}{
		{`{"event":"E","site":"shop"}`, "", fault.SchemaViolation, "shop"},
		{`{"user_id":"u","site":"shop"}`, "/event", fault.SchemaViolation, "shop"},
		{`{"event":"E","user_id":"u","site":"shopp"}`, "/site", fault.UnknownSite, "shopp"},
		{`{"event":"E","user_id":"u"}`, "/url", fault.UnmappedDomain, "-"},
		{`{"event":"E","user_id":"u","url":"https://other.example.test/"}`, "/url", fault.UnmappedDomain, "-"},
		{`{"event":"E","user_id":"u","site":"shop","time":"yesterday"}`, "/time", fault.SchemaViolation, "shop"},
		{`{"event":"E","user_id":"u","site":"shop","properties":[1]}`, "/properties", fault.SchemaViolation, "shop"},
		{`{"event":"E","user_id":{"a":1},"site":"shop"}`, "/user_id", fault.SchemaViolation, "shop"},
		{`{"event":"` + long + `","user_id":"u","site":"shop"}`, "/event", fault.SchemaViolation, "shop"},
		{`{"event":"E","user_id":"` + long + `","site":"shop"}`, "/visitor/user_id", fault.SchemaViolation, "shop"},
		{`{"event":"E","kind":"explode","user_id":"u","site":"shop"}`, "/type", fault.SchemaViolation, "shop"},
		{`{"event":"E","user_id":"u","user_id":"v","site":"shop"}`, "/user_id", fault.SchemaViolation, "-"},
		{`{"event":"E","user_id":"u","site":"shop","properties":{"__proto__":{"a":1}}}`, "/properties/__proto__", fault.SchemaViolation, "-"},
		{`{"event":"E","user_id":"u","site":"shop","properties":{"n":1e400}}`, "/properties/n", fault.SchemaViolation, "-"},
		{`{"event":"E","user_id":"u","site":"shop","properties":{"t":"` + strings.Repeat("x", 250<<10) + `"}}`, "", fault.TooLarge, "shop"},
		{`"E"`, "", fault.SchemaViolation, "-"},
		{`{"event":`, "", fault.Malformed, "-"},
	}
	for i, test := range tests {
		a := r.post("web", test.body)
		want := fmt.Sprintf(`"reason":%q`, test.reason)
		if test.pointer != "" {
			want += fmt.Sprintf(`,"pointer":%q`, test.pointer)
		}
		if a.status/100 != 4 || !strings.Contains(a.body, want) {
			t.Errorf("%d: %.80s is answered %d %.200s, want %s", i, test.body, a.status, a.body, want)
		}
	}
	list, kept := rejectedOf(t, r.bus), 0
	for _, test := range tests {
		found := false
		for _, one := range list[event.DeadSubject(test.reason, strings.TrimSuffix(test.site, "-"), "")] {
			found = found || string(one.Body) == test.body[:min(len(test.body), 64<<10)] && one.Bytes == len(test.body) &&
				one.Source == "web" && one.Problem.Field == test.pointer
		}
		if !found {
			t.Errorf("%.80s is not on the rejected list", test.body)
		}
		kept++
	}
	if n := len(r.triggers()); n != 0 {
		t.Errorf("%d wrong events passed", n)
	}
	if got := kept; got != len(tests) {
		t.Errorf("%d of %d are kept", got, len(tests))
	}

	a := r.post("web", `[{"id":"good-1","event":"E","user_id":"u","site":"shop"},{"event":"E","site":"shop"},7,{"id":"good-2","event":"E","user_id":"u","site":"shop"}]`)
	for _, want := range []string{`{"id":"good-1","status":"accepted"}`, `{"id":"good-2","status":"accepted"}`, `"pointer":"/2"`} {
		if a.status != http.StatusOK || !strings.Contains(a.body, want) {
			t.Errorf("the batch is answered %d %s, want %s", a.status, a.body, want)
		}
	}
	if n := len(r.triggers()); n != 2 {
		t.Errorf("%d events of the batch are stored", n)
	}
}

// TestRejectedOnce: the tries of a sender are one entry of the list.
func TestRejectedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, bustest.Start(t), nil, mountPlain(t, "web"))
	for range 5 {
		r.post("web", `{"id":"m-1","event":"E","site":"shop"}`)
		r.post("web", `{"id":"m-2","event":"E","site":"shop"}`)
	}
	if n := len(rejectedOf(t, r.bus)["dead.schema_violation.shop.-"]); n != 2 {
		t.Errorf("two events are on the list %d times", n)
	}
	if n := r.ledger.of("rejected"); n != 10 {
		t.Errorf("%d rejections are counted", n)
	}
}

func TestMaintenanceQuotaAndOverload(t *testing.T) {
	t.Parallel()
	limited := mountPlain(t, "limited")
	limited.Settings.Quota = 5
	r := newRig(t, bustest.Start(t), nil, mountPlain(t, "web"), limited)
	body := func(i int) string {
		return fmt.Sprintf(`{"id":"m-%d","event":"E","user_id":"u","site":"shop"}`, i)
	}
	later := func(a answer, status int, reason fault.Reason) {
		t.Helper()
		if a.status != status || a.header.Get("Retry-After") == "" || a.header.Get("Retry-After") == "0" || !strings.Contains(a.body, string(reason)) {
			t.Errorf("the answer is %d, Retry-After %q, %s; want %d %s", a.status, a.header.Get("Retry-After"), a.body, status, reason)
		}
	}
	r.edge.SetMaintenance(true)
	later(r.post("web", body(0)), http.StatusServiceUnavailable, fault.Maintenance)
	if a := r.do(http.MethodGet, "/healthz", nil, nil); a.status != http.StatusServiceUnavailable {
		t.Errorf("/healthz during maintenance is %d", a.status)
	}
	r.edge.SetMaintenance(false)
	if a := r.post("web", body(0)); a.status != http.StatusAccepted {
		t.Errorf("after maintenance the answer is %d %s", a.status, a.body)
	}
	if a := r.do(http.MethodGet, "/healthz", nil, nil); a.status != http.StatusOK {
		t.Errorf("/healthz is %d %s", a.status, a.body)
	}

	accepted := 0
	for i := range 40 {
		if a := r.post("limited", body(i)); a.status == http.StatusAccepted {
			accepted++
		} else {
			later(a, http.StatusTooManyRequests, fault.QuotaExhausted)
		}
		if a := r.post("web", body(i)); a.status/100 != 2 {
			t.Errorf("the other source is answered %d %s", a.status, a.body)
		}
	}
	if accepted < 5 || accepted > 39 {
		t.Errorf("%d events of 40 are within the quota of 5 a second", accepted)
	}
	if refused := r.ledger.refused(fault.QuotaExhausted); refused != 40-accepted {
		t.Errorf("%d refusals are counted, want %d", refused, 40-accepted)
	}
	batch := "[" + body(100) + strings.Repeat(","+body(101), 20) + "]"
	later(r.post("limited", batch), http.StatusTooManyRequests, fault.QuotaExhausted)
}

// slowStore is a real store that is held up.
type slowStore struct {
	ingest.Store
	hold chan struct{}
}

func (s slowStore) Accept(ctx context.Context, events []ingest.Event) []ingest.Stored {
	<-s.hold
	return s.Store.Accept(ctx, events)
}

// TestOverloadIsFair: a source that has all its own and all of the common part
// is told to come later, and another one still gets through (I5, scaled).
func TestOverloadIsFair(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	hold := make(chan struct{})
	r := newRig(t, b, func(o *ingest.Options) {
		o.Requests = 8 // Two for each of the sources, and four for whoever comes.
		o.Store = slowStore{o.Store, hold}
	}, mountPlain(t, "flood"), mountPlain(t, "calm"))
	statuses := make(chan int, 40)
	var senders sync.WaitGroup
	send := func(source string, i int) {
		senders.Go(func() {
			statuses <- r.post(source, fmt.Sprintf(`{"id":"m-%d","event":"E","user_id":"u","site":"shop"}`, i)).status
		})
	}
	for i := range 20 {
		send("flood", i)
	}
	for range 14 { // All that find no room are answered while the others wait.
		if status := <-statuses; status != http.StatusTooManyRequests {
			t.Fatalf("a request too many is answered %d", status)
		}
	}
	send("calm", 0)
	send("calm", 1)
	bustest.Until(t, "the calm source waits for the store", func() bool { return r.ledger.refused(fault.Overloaded) == 14 })
	close(hold)
	senders.Wait()
	close(statuses)
	taken := map[int]int{}
	for status := range statuses {
		taken[status]++
	}
	if diff := cmp.Diff(map[int]int{202: 8}, taken); diff != "" {
		t.Errorf("the answers of those that waited differ (-want +got):\n%s", diff)
	}
	if n := len(r.triggers()); n != 8 {
		t.Errorf("%d events are stored, 8 were confirmed", n)
	}
}

// TestBusAway: an event that cannot be stored is never confirmed, and the sender
// is told to come again. When the bus is back, nothing is there twice.
func TestBusAway(t *testing.T) {
	t.Parallel()
	server := bustest.Serve(t)
	b := bustest.Open(t, bus.Options{URL: server.URL(), Timeout: time.Second})
	r := newRig(t, b, nil, mountPlain(t, "web"))
	const first, second = `{"id":"m-1","event":"E","user_id":"u","site":"shop"}`, `{"id":"m-2","event":"E","user_id":"u","site":"shop"}`
	if a := r.post("web", first); a.status != http.StatusAccepted {
		t.Fatalf("the answer is %d %s", a.status, a.body)
	}
	server.Stop()
	if a := r.post("web", second); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("without a bus the answer is %d %v %s", a.status, a.header, a.body)
	}
	server.Start()
	bustest.Until(t, "the bus is back", func() bool { return r.post("web", second).status/100 == 2 })
	if a := r.post("web", first); a.status != http.StatusOK {
		t.Errorf("the repetition is answered %d %s", a.status, a.body)
	}
	if n := len(r.triggers()); n != 2 {
		t.Errorf("%d events are stored", n)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	root := mountPlain(t, "root")
	root.Path, root.TokenIn = "/", "query:key"
	path := mountPlain(t, "path")
	path.TokenIn = "path"
	page := mountPlain(t, "page")
	page.Origins = []string{"https://shop.example.test"}
	r := newRig(t, bustest.Start(t), nil, mountPlain(t, "web"), root, path, page)
	const event1 = `{"event":"E","user_id":"u","site":"shop"}`
	tests := []struct {
		method, path string
		headers      map[string]string
		want         int
	}{
		{"POST", "/in/web", nil, 202},
		{"POST", "/in/web/", nil, 202},
		{"POST", "/in/web/" + secret, map[string]string{"Authorization": ""}, 202},
		{"POST", "/in/web?access_token=" + secret, map[string]string{"Authorization": ""}, 202},
		{"POST", "/in/web", map[string]string{"Authorization": ""}, 401},
		{"POST", "/in/web", map[string]string{"Authorization": "Bearer " + secret + "x"}, 401},
		{"POST", "/in/web/" + secret[1:], map[string]string{"Authorization": ""}, 401},
		{"POST", "/in/path/" + secret, map[string]string{"Authorization": ""}, 202},
		{"POST", "/in/path", nil, 401},
		{"POST", "/?key=" + secret, map[string]string{"Authorization": ""}, 202},
		{"POST", "/", nil, 401},
		{"PUT", "/in/web", nil, 404},
		{"POST", "/in/web/more/of/it", nil, 404},
		{"POST", "/in/nobody", nil, 404},
		{"POST", "/in/webb", nil, 404},
		{"GET", "/in/web?event=E&user_id=u&site=shop&plan=pro", nil, 202},
		{"GET", "/in/web?event=E&user_id=u&site=shop&site=docs", nil, 422},
		{"OPTIONS", "/in/page", map[string]string{"Origin": "https://shop.example.test", "Access-Control-Request-Method": "POST"}, 204},
		{"OPTIONS", "/in/page", map[string]string{"Origin": "https://evil.example.test", "Access-Control-Request-Method": "POST"}, 404},
		{"POST", "/in/page", map[string]string{"Origin": "https://shop.example.test"}, 202},
	}
	for _, test := range tests {
		a := r.do(test.method, test.path, strings.NewReader(event1), test.headers)
		if a.status != test.want {
			t.Errorf("%s %s %v is answered %d %s, want %d", test.method, test.path, test.headers, a.status, a.body, test.want)
		}
		allowed := a.header.Get("Access-Control-Allow-Origin")
		if want := test.headers["Origin"]; allowed != "" && allowed != want || allowed == "" && strings.Contains(test.path, "page") && test.want != 404 {
			t.Errorf("%s %s %v allows %q", test.method, test.path, test.headers, allowed)
		}
		if a.status >= 400 && strings.Contains(a.body, secret) {
			t.Errorf("the answer shows the secret: %s", a.body)
		}
	}
	_, err := ingest.New(bustest.Log(t), ingest.Options{Sources: []ingest.Mount{mountPlain(t, "web"), {
		Settings: ingest.Settings{Name: "again"}, Source: mountPlain(t, "again").Source, Path: "/in/web",
	}}})
	if e := fault.From(err); e == nil || e.Reason != fault.BadConfig {
		t.Errorf("two sources at one address: %v", err)
	}
}

// broken is a source that fails in the ways in which ours must not.
type broken struct{ ingest.Source }

func (broken) Receive(context.Context, *ingest.Request) (ingest.Received, error) {
	var none []ingest.Item
	return ingest.Received{Items: none[len(none)+1:]}, nil
}

// unproved is a source that forgets to say how far an event is proved.
type unproved struct{ ingest.Source }

func (u unproved) Receive(ctx context.Context, r *ingest.Request) (ingest.Received, error) {
	received, err := u.Source.Receive(ctx, r)
	for i := range received.Items {
		received.Items[i].Authenticated = [...]event.Authenticity{"", event.AuthenticFirst}[i%2]
	}
	return received, err
}

func TestBadSources(t *testing.T) {
	t.Parallel()
	crash, forget := mountPlain(t, "crash"), mountPlain(t, "forget")
	crash.Source, forget.Source, forget.Token = broken{crash.Source}, unproved{forget.Source}, nil
	b := bustest.Start(t)
	r := newRig(t, b, nil, crash, forget, mountPlain(t, "web"))
	if a := r.post("crash", `{"id":"poison"}`); a.status != http.StatusInternalServerError || strings.Contains(a.body, "out of range") {
		t.Errorf("a source that breaks down is answered %d %s", a.status, a.body)
	}
	if list := rejectedOf(t, b)["dead.internal_error.-.-"]; len(list) != 1 || string(list[0].Body) != `{"id":"poison"}` {
		t.Errorf("the poison is not on the rejected list: %v", list)
	}
	if a := r.post("forget", `[{"event":"E","user_id":"u","site":"shop"},{"event":"E","user_id":"u","site":"shop"}]`); a.status != http.StatusUnprocessableEntity || strings.Count(a.body, "not_authentic") != 2 {
		t.Errorf("events that nothing proves are answered %d %s", a.status, a.body)
	}
	if a := r.post("web", `{"event":"E","user_id":"u","site":"shop"}`); a.status != http.StatusAccepted {
		t.Errorf("another source is answered %d %s", a.status, a.body)
	}
	if n := len(r.triggers()); n != 1 {
		t.Errorf("%d events are stored", n)
	}
}

// TestQuotaComesBack shows in virtual time that a quota is a rate. The events are
// not proved, so that none goes further.
func TestQuotaComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mount := mountPlain(t, "web")
		mount.Settings.Quota, mount.Token = 2, nil
		edge, err := ingest.New(bustest.Log(t), ingest.Options{Sources: []ingest.Mount{mount}, Counter: newLedger(), Site: siteOf})
		if err != nil {
			t.Fatal(err)
		}
		taken := map[int]int{}
		for range 100 {
			taken[serve(edge, `{"event":"E","user_id":"u","site":"shop"}`).status]++
			<-time.After(100 * time.Millisecond)
		}
		if n := taken[http.StatusUnprocessableEntity]; n < 20 || n > 22 || taken[http.StatusTooManyRequests] != 100-n {
			t.Errorf("of 100 events in 10 s with a quota of 2 a second, the answers are %v", taken)
		}
	})
}
