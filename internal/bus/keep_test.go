package bus_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

func TestOneOfManyBegins(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	subject := event.EffectSubject("shop", "s1", event.Key("/test", "1"))
	var mu sync.Mutex
	var all []bus.Effect
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			effect, err := b.Begin(t.Context(), subject, []byte(fmt.Sprintf("started by %d", i)))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, effect)
		})
	}
	group.Wait()
	winner := slices.IndexFunc(all, func(e bus.Effect) bool { return e.New })
	if winner < 0 {
		t.Fatalf("nobody began: %+v", all)
	}
	for i, e := range all {
		if e.New != (i == winner) || e.Revision != all[winner].Revision || string(e.Record) != string(all[winner].Record) {
			t.Errorf("call %d: %+v, and the record is %+v", i, e, all[winner])
		}
	}
}

func TestAnEffectIsFinishedByItsOwnerOnly(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	subject := event.EffectSubject("shop", "s1", event.Key("/test", "1"))
	effect, err := b.Begin(t.Context(), subject, []byte("started"))
	if err != nil {
		t.Fatal(err)
	}
	finished, err := b.Finish(t.Context(), subject, effect.Revision, []byte("done")).Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Finish(t.Context(), subject, effect.Revision, []byte("done by a stale owner")).Wait(t.Context())
	wantReason(t, err, fault.StaleFence)
	got, err := b.Begin(t.Context(), subject, []byte("started again"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(bus.Effect{Record: []byte("done"), Revision: finished.Sequence}, got); diff != "" {
		t.Errorf("the record (-want +got):\n%s", diff)
	}
}

func TestABucketKeepsComparesAndLists(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	ctx := t.Context()
	kv, err := b.KV(ctx, bus.BucketProfiles)
	if err != nil {
		t.Fatal(err)
	}
	if _, found, err := kv.Get(ctx, "shop.s1"); found || err != nil {
		t.Errorf("an absent key: %t, %v", found, err)
	}
	first, err := kv.Create(ctx, "shop.s1", []byte("one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = kv.Create(ctx, "shop.s1", []byte("other"), 0)
	wantReason(t, err, fault.StaleFence)
	second, err := kv.Update(ctx, "shop.s1", []byte("two"), first)
	if err != nil {
		t.Fatal(err)
	}
	_, err = kv.Update(ctx, "shop.s1", []byte("late"), first)
	wantReason(t, err, fault.StaleFence)
	entry, found, err := kv.Get(ctx, "shop.s1")
	if !found || err != nil || string(entry.Value) != "two" || entry.Revision != second || entry.At.IsZero() {
		t.Errorf("entry: %+v, %t, %v", entry, found, err)
	}
	for _, key := range []string{"shop.s2", "docs.s1"} {
		if _, err := kv.Put(ctx, key, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ filters, want []string }{
		{nil, []string{"docs.s1", "shop.s1", "shop.s2"}},
		{[]string{"shop.*"}, []string{"shop.s1", "shop.s2"}},
		{[]string{"nothing.*"}, nil},
	} {
		keys, err := kv.Keys(ctx, test.filters...)
		if slices.Sort(keys); err != nil || !slices.Equal(keys, test.want) {
			t.Errorf("Keys(%v) = %v, %v; want %v", test.filters, keys, err, test.want)
		}
	}
	for range 2 {
		if err := kv.Delete(ctx, "shop.s1"); err != nil {
			t.Error(err)
		}
	}
	if _, found, err := kv.Get(ctx, "shop.s1"); found || err != nil {
		t.Errorf("a deleted key: %t, %v", found, err)
	}
	_, err = kv.Put(ctx, "no spaces", nil)
	wantReason(t, err, fault.Malformed)
	_, err = b.KV(ctx, "nothing")
	wantReason(t, err, fault.BusMisconfigured)
}

func TestAKeyEndsByItself(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	kv, err := b.KV(t.Context(), bus.BucketGroup)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Create(t.Context(), "w.one", []byte("x"), time.Second); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	bustest.Until(t, "the key has ended", func() bool {
		_, found, err := kv.Get(t.Context(), "w.one")
		return err == nil && !found
	})
	if took := time.Since(start); took < 900*time.Millisecond || took > 3*time.Second {
		t.Errorf("the key ended after %s", took)
	}
}

func TestTailBeginsWhereItIsTold(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	var sent []string
	var middle time.Time
	for i := range 6 {
		e, _ := command(t, "s1")
		out, subject := result(t, e, event.Succeeded)
		if _, err := b.Publish(t.Context(), subject, out); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, out.ID)
		if i == 2 {
			<-time.After(5 * time.Millisecond) // So that the middle lies between two messages.
			middle = time.Now()
		}
	}
	for name, test := range map[string]struct {
		o    bus.TailOptions
		want []string
	}{
		"all":         {bus.TailOptions{All: true}, sent},
		"a sequence":  {bus.TailOptions{Sequence: 5}, sent[4:]},
		"a time":      {bus.TailOptions{Since: middle}, sent[3:]},
		"now":         {bus.TailOptions{}, nil},
		"other site":  {bus.TailOptions{All: true, Subjects: []string{"res.*.*.*.docs.*"}}, nil},
		"two streams": {bus.TailOptions{All: true, Subjects: []string{"res.>", "dead.>", "in.>"}}, sent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.o.ToEnd = true
			if test.o.Subjects == nil {
				test.o.Subjects = []string{"res.>"}
			}
			var got []string
			for d, err := range b.Tail(t.Context(), test.o) {
				if err != nil {
					t.Fatal(err)
				}
				e, err := d.Envelope()
				if err != nil || d.Stream != "EVT" || d.Sequence == 0 || d.StoredAt.IsZero() {
					t.Errorf("%+v, %v", d, err)
				}
				got = append(got, e.ID)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTailRefusesWhatIsNowhere(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	for _, o := range []bus.TailOptions{
		{Subjects: []string{"nowhere.>"}},
		{Subjects: []string{"res.>", "dead.>"}, Sequence: 3},
	} {
		for _, err := range b.Tail(t.Context(), o) {
			wantReason(t, err, fault.Malformed)
		}
	}
}

func TestTailGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	ctx, cancel := context.WithCancel(t.Context())
	came := make(chan string, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for d, err := range b.Tail(ctx, bus.TailOptions{Subjects: []string{"res.>", "cmd.>"}, All: true}) {
			if err != nil {
				t.Error(err)
				return
			}
			e, err := d.Envelope()
			if err != nil {
				t.Error(err)
			}
			came <- e.ID
		}
	}()
	send := func() string {
		e, _ := command(t, "s1")
		out, subject := result(t, e, event.Succeeded)
		if _, err := b.Publish(t.Context(), subject, out); err != nil {
			t.Fatal(err)
		}
		return out.ID
	}
	before := send()
	if got := receive(t, came, "the first event"); got != before {
		t.Errorf("came: %s, want %s", got, before)
	}
	s.Stop()
	s.Start()
	after := send()
	if got := receive(t, came, "the event after the restart"); got != after {
		t.Errorf("came: %s, want %s", got, after)
	}
	// Commands are overheard, with no history.
	if e := publish(t, b, "s1"); receive(t, came, "the command") != e.ID {
		t.Error("the command was not overheard")
	}
	cancel()
	receive(t, done, "the end of Tail")
}

func TestAConsumerRemembersItsPlace(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	read := func(o bus.ConsumeOptions, n int) []string {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		came := make(chan string, 100)
		done := make(chan error, 1)
		go func() {
			done <- b.Consume(ctx, o, func(_ context.Context, d *bus.Delivery) error {
				e, err := d.Envelope()
				came <- e.ID
				return err
			})
		}()
		var got []string
		for range n {
			got = append(got, receive(t, came, "an event"))
		}
		cancel()
		if err := receive(t, done, "the end of Consume"); err != nil {
			t.Error(err)
		}
		return got
	}
	send := func() string {
		e, _ := command(t, "s1")
		out, subject := result(t, e, event.Succeeded)
		if _, err := b.Publish(t.Context(), subject, out); err != nil {
			t.Fatal(err)
		}
		return out.ID
	}
	o := bus.ConsumeOptions{Stream: bus.StreamEvents, Durable: "crm", Filters: []string{"res.>"}}
	one, two := send(), send()
	if diff := cmp.Diff([]string{one, two}, read(o, 2)); diff != "" {
		t.Errorf("first run (-want +got):\n%s", diff)
	}
	three := send()
	if diff := cmp.Diff([]string{three}, read(o, 1)); diff != "" {
		t.Errorf("second run (-want +got):\n%s", diff)
	}
}

func TestSendHearsTheAnswer(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	work(t, s.Bus(), bus.CommandOptions{}, func(_ context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		if err != nil {
			return err
		}
		out, subject := result(t, e, event.Succeeded)
		d.After(b.PublishAsync(subject, out))
		return b.Answer(d.ReplyTo, out)
	})
	e, subject := command(t, "s1")
	reply, err := b.Send(t.Context(), subject, e)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Close()
	out, err := reply.Wait(t.Context())
	if err != nil || out.Extension(event.ExtCausationID) != e.ID || reply.Receipt.Stream != "CMD" {
		t.Errorf("reply: %+v, %v", out, err)
	}
}

// TestAQuickSenderIsNotRefused has a sender with one command under way at a
// time, whose settled commands the server has not removed yet.
func TestAQuickSenderIsNotRefused(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	work(t, b, bus.CommandOptions{}, func(_ context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		if err != nil {
			return err
		}
		out, subject := result(t, e, event.Succeeded)
		d.After(b.PublishAsync(subject, out))
		return b.Answer(d.ReplyTo, out)
	})
	for range 2000 {
		e, subject := command(t, "s1")
		reply, err := b.Send(t.Context(), subject, e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := reply.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		reply.Close()
	}
}

// TestALostAnswerIsFoundInTheHistory has a worker whose answer never arrives.
func TestALostAnswerIsFoundInTheHistory(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	work(t, b, bus.CommandOptions{}, func(_ context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		if err != nil {
			return err
		}
		out, subject := result(t, e, event.Succeeded)
		d.After(b.PublishAsync(subject, out))
		return nil
	})
	for range 2 { // The second one must not take the first one's result.
		e, subject := command(t, "s1")
		reply, err := b.Send(t.Context(), subject, e)
		if err != nil {
			t.Fatal(err)
		}
		out, err := reply.Wait(t.Context())
		if err != nil || out.Extension(event.ExtCausationID) != e.ID {
			t.Errorf("reply: %+v, %v", out, err)
		}
		reply.Close()
	}
}

func TestWithoutAWorkerTheSenderIsTold(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	e, subject := command(t, "s1")
	reply, err := b.Send(t.Context(), subject, e)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = reply.Wait(ctx)
	wantReason(t, err, fault.NoWorker)
}

// TestAnAnswerGoesToInboxesOnly: the inbox is named by whoever sends the
// command, who must not make a worker publish elsewhere.
func TestAnAnswerGoesToInboxesOnly(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	e, _ := command(t, "s1")
	for _, to := range []string{
		"cmd.a.botstar.user.clear_profile.shop.s1", "$JS.API.STREAM.DELETE.CMD", "_INBOX", "_INBOX.*", "_INBOX.>",
		"_INBOX..x", "_INBOX.a b", "_INBOX.a\r\nPUB x", "inbox.x", "_INBOXX.x",
	} {
		wantReason(t, b.Answer(to, e), fault.Malformed)
	}
	for _, to := range []string{"", "_INBOX.abc.1", "_INBOX_agent.abc"} {
		if err := b.Answer(to, e); err != nil {
			t.Errorf("Answer(%q): %v", to, err)
		}
	}
}

func TestADeadLetterIsReplayed(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	e, subject := command(t, "s1")
	e.Extensions[event.ExtExpiryTime] = time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)
	e.Extensions[event.ExtCorrelationID] = "trigger-1"
	if _, err := b.Publish(t.Context(), subject, e); err != nil {
		t.Fatal(err)
	}
	came := make(chan *bus.Delivery, 3)
	work(t, b, bus.CommandOptions{}, func(_ context.Context, d *bus.Delivery) error {
		came <- d
		if d.Replay == 0 {
			return fault.New(fault.SchemaViolation, "wrong")
		}
		return nil
	})
	receive(t, came, "the command")
	bustest.NextOn[event.DeadLetter](t, b, "dead.>")
	var letters []bus.Dead
	for dead, err := range b.DeadLetters(t.Context(), "dead.schema_violation.shop.*") {
		if err != nil {
			t.Fatal(err)
		}
		letters = append(letters, dead)
	}
	if len(letters) != 1 || letters[0].Problem.Reason != "schema_violation" {
		t.Fatalf("letters: %+v", letters)
	}
	for i, duplicate := range []bool{false, true} {
		receipt, err := b.Replay(t.Context(), letters[0].Sequence)
		if err != nil || receipt.Stream != "CMD" || receipt.Duplicate != duplicate {
			t.Fatalf("replay %d: %+v, %v", i, receipt, err)
		}
	}
	d := receive(t, came, "the command, again")
	got, err := d.Envelope()
	if err != nil || d.Replay != letters[0].Sequence || d.ReplyTo != "" {
		t.Errorf("replayed: %+v, %v", d, err)
	}
	delete(e.Extensions, event.ExtExpiryTime)
	if diff := cmp.Diff(e, got); diff != "" {
		t.Errorf("the command (-sent +replayed):\n%s", diff)
	}
	_, err = b.Replay(t.Context(), 999)
	wantReason(t, err, fault.Malformed)
}
