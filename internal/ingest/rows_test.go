package ingest_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// TestDuplicatesOfDaysLater is I1 and N12: what is sent again when the server has
// forgotten the message's id is known by its marker, which is there for longer
// than the longest sender tries, 80 hours.
func TestDuplicatesOfDaysLater(t *testing.T) {
	t.Parallel()
	events, again := bustest.Count(100, 2500), 4
	server := bustest.Serve(t)
	r := newRig(t, server.Bus(), nil, mountPlain(t, "web"))
	server.Forget(bus.StreamFlow, 100*time.Millisecond)
	post := func(want int) {
		t.Helper()
		for i := range events {
			if a := r.post("web", fmt.Sprintf(`{"id":"m-%d","event":"E","user_id":"u-%d","site":"shop"}`, i, i%7)); a.status != want {
				t.Fatalf("event %d is answered %d %s, want %d", i, a.status, a.body, want)
			}
		}
	}
	post(http.StatusAccepted)
	for round := range again {
		probe, err := event.New("/probe", event.TriggerType(event.KindTrack), "s", map[string]int{"round": round})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.bus.Publish(t.Context(), "in.probe", probe); err != nil {
			t.Fatal(err)
		}
		bustest.Until(t, "the server has forgotten the ids", func() bool { // It has, when the later one is new to it.
			receipt, err := r.bus.Publish(t.Context(), "in.probe", probe)
			return err == nil && !receipt.Duplicate
		})
		post(http.StatusOK)
	}
	counts := map[string]int{}
	for _, one := range r.triggers() {
		counts[one.ID]++
	}
	for id, n := range counts {
		if n != 1 {
			t.Errorf("%s is stored %d times", id, n)
		}
	}
	if len(counts) != events || r.ledger.of("duplicate") != again*events {
		t.Errorf("%d events are stored, and %d duplicates were known; want %d and %d", len(counts), r.ledger.of("duplicate"), events, again*events)
	}
	marker, found, err := r.bus.Last(t.Context(), event.InboxSubject(event.Key("/ingest/plain/web", "m-0")))
	if err != nil || !found {
		t.Fatalf("there is no marker: %v", err)
	}
	if life, err := time.ParseDuration(strings.Join(marker.Header["Nats-TTL"], "") + "s"); err != nil || life < 80*time.Hour {
		t.Errorf("the marker ends after %v, %v", marker.Header["Nats-TTL"], err)
	}
}

// TestNastyTexts is the corpus of I8: texts made of what is easily changed or
// cannot be told apart are stored as they came, or refused.
func TestNastyTexts(t *testing.T) {
	t.Parallel()
	r := newRig(t, bustest.Start(t), nil, mountPlain(t, "web"))
	good := [][2]string{ // as it is written, and what it says
		{"plain", "plain"},
		{"é", "é"},
		{`\u00e9`, "é"},
		{"e\u0301", "e\u0301"},
		{`\ud83d\ude00`, "😀"},
		{"😀", "😀"},
		{`\u0000`, "\x00"},
		{`\u2028`, "\u2028"},
		{"\u2029", "\u2029"},
		{"\ufeff", "\ufeff"},
		{`\ufeff`, "\ufeff"},
		{`\/`, "/"},
		{`\\`, `\`},
		{`\"`, `"`},
		{"\u202e", "\u202e"},
		{"\U0010ffff", "\U0010ffff"},
		{"<script>", "<script>"},
		{"&amp;", "&amp;"},
		{"\x7f", "\x7f"},
		{"\ufffd", "\ufffd"},
		{"  ", "  "},
		{"", ""},
	}
	bad := []string{"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", `\ud800`, `\udc00`, `\ud800-\udc00`, "\x00", "\n", "\x1f", `\x41`, `\u12`, `\U00000041`}
	random := rand.New(rand.NewPCG(8, 500))
	want, got, refused := map[string]string{}, map[string]string{}, 0
	for i := range bustest.Count(150, 500) {
		var written, says []string
		for range 1 + random.IntN(6) {
			piece := good[random.IntN(len(good))]
			written, says = append(written, piece[0]), append(says, piece[1])
		}
		id, status := fmt.Sprintf("m-%d", i), http.StatusAccepted
		if random.IntN(2) == 0 {
			status = http.StatusBadRequest
			refused++
			written = slices.Insert(written, random.IntN(len(written)+1), bad[random.IntN(len(bad))])
		} else {
			want[id] = strings.Join(says, "-")
		}
		text := strings.Join(written, "-")
		if a := r.post("web", `{"id":"`+id+`","event":"E","user_id":"u","site":"shop","properties":{"text":"`+text+`"}}`); a.status != status {
			t.Errorf("%q is answered %d %s, want %d", text, a.status, a.body, status)
		}
	}
	for _, one := range r.triggers() {
		got[one.ID], _ = one.Properties["text"].(string)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the stored texts differ (-want +got):\n%s", diff)
	}
	if n := len(rejectedOf(t, r.bus)[event.DeadSubject(fault.Malformed, "", "")]); n != refused {
		t.Errorf("%d of %d refused bodies are kept", n, refused)
	}
}

// spoilt are ways to make an event wrong: what stands in it, and the pointer to
// it in the answer.
var spoilt = [][2]string{
	{`"event":[],"user_id":"u"`, "/event"},
	{`"event":{"a":1},"user_id":"u"`, "/event"},
	{`"event":"LONG","user_id":"u"`, "/event"},
	{`"user_id":"u"`, "/event"},
	{`"event":"E"`, ""},
	{`"event":"E","user_id":["u"]`, "/user_id"},
	{`"event":"E","user_id":"LONG"`, "/visitor/user_id"},
	{`"event":"E","user_id":"u","time":"yesterday"`, "/time"},
	{`"event":"E","user_id":"u","time":"2026-02-30T00:00:00Z"`, "/time"},
	{`"event":"E","user_id":"u","properties":"none"`, "/properties"},
	{`"event":"E","user_id":"u","properties":[1]`, "/properties"},
	{`"event":"E","user_id":"u","kind":"explode"`, "/type"},
	{`"event":"E","user_id":"u","properties":{"a":1,"a":2}`, "/properties/a"},
	{`"event":"E","user_id":"u","properties":{"constructor":1}`, "/properties/constructor"},
	{`"event":"E","user_id":"u","properties":{"n":[0,1e400]}`, "/properties/n/1"},
	{`"event":"E","user_id":"u","user_id":"u"`, "/user_id"},
	{`"event":"E","user_id":"u","email":{"a":1}`, "/email"},
}

// TestSpoiltEvents is I10: events that are wrong in some place, with any
// properties beside it, are answered 422 with a pointer to the place, and kept on
// the list; the good ones between them pass.
func TestSpoiltEvents(t *testing.T) {
	t.Parallel()
	events := bustest.Count(170, 1000)
	r := newRig(t, bustest.Start(t), nil, mountPlain(t, "web"))
	random := rand.New(rand.NewPCG(10, 1000))
	for i := range events {
		how := spoilt[i%len(spoilt)]
		members := strings.ReplaceAll(how[0], "LONG", strings.Repeat("x", 257+random.IntN(300)))
		body := fmt.Sprintf(`{"id":"bad-%d","site":"shop","x-%d":%d,%s}`, i, random.IntN(100), i, members)
		a := r.post("web", body)
		if a.status != http.StatusUnprocessableEntity || how[1] != "" && !strings.Contains(a.body, fmt.Sprintf(`"pointer":%q`, how[1])) {
			t.Fatalf("%s is answered %d %s, want %q", body, a.status, a.body, how[1])
		}
		if i%10 == 0 {
			if a := r.post("web", fmt.Sprintf(`{"id":"good-%d","site":"shop","event":"E","user_id":"u"}`, i)); a.status != http.StatusAccepted {
				t.Fatalf("a good event is answered %d %s", a.status, a.body)
			}
		}
	}
	for _, one := range r.triggers() {
		if !strings.HasPrefix(one.ID, "good-") {
			t.Errorf("%s passed", one.ID)
		}
	}
	if n := r.ledger.of("accepted"); n != (events+9)/10 {
		t.Errorf("%d good events passed", n)
	}
	kept := map[string]bool{}
	for _, list := range rejectedOf(t, r.bus) {
		for _, one := range list {
			kept[string(one.Body)] = true
		}
	}
	if len(kept) != events {
		t.Errorf("%d of %d are on the list", len(kept), events)
	}
}

// TestAmbiguousStores is N10: of every twenty messages the confirmation of one
// gets lost. Every event is stored once, and nobody is told otherwise.
func TestAmbiguousStores(t *testing.T) {
	t.Parallel()
	events, senders := bustest.Count(400, 10_000), 4
	var mu sync.Mutex
	random, lost := rand.New(rand.NewPCG(10, 10_000)), 0
	b := bustest.Open(t, bus.Options{Dir: t.TempDir(), Unheard: func(string) bool {
		mu.Lock()
		defer mu.Unlock()
		unheard := random.IntN(20) == 0
		if unheard {
			lost++
		}
		return unheard
	}})
	r := newRig(t, b, nil, mountPlain(t, "web"))
	var running sync.WaitGroup
	for sender := range senders {
		running.Go(func() {
			for i := sender; i < events; i += senders {
				if a := r.post("web", fmt.Sprintf(`{"id":"m-%d","event":"E","user_id":"u-%d","anonymous_id":"a-%d","site":"shop"}`, i, i%50, i%50)); a.status != http.StatusAccepted {
					t.Errorf("event %d is answered %d %s", i, a.status, a.body)
				}
			}
		})
	}
	running.Wait()
	counts := map[string]int{}
	for _, one := range r.triggers() {
		counts[one.ID]++
	}
	twice := 0
	for _, n := range counts {
		twice += n - 1
	}
	t.Logf("%d events, %d confirmations lost: %d lost, %d twice", events, lost, events-len(counts), twice)
	if len(counts) != events || twice > 0 || lost < events/20 {
		t.Error("not every event is stored once")
	}
}
