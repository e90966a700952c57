package ingest

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-chat/parley/internal/event"
)

func TestCacheForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCache[int](10)
		c.put("a", 1, time.Second)
		if v, ok := c.get("a"); !ok || v != 1 {
			t.Errorf("get = %d, %t", v, ok)
		}
		<-time.After(time.Second)
		if _, ok := c.get("a"); ok {
			t.Error("it is remembered for longer than its life")
		}
		for i := range 1000 {
			c.put(strconv.Itoa(i), i, time.Hour)
			if n := len(c.young) + len(c.old); n > 10 {
				t.Fatalf("%d are remembered, 10 are the most", n)
			}
			if v, ok := c.get(strconv.Itoa(i)); !ok || v != i {
				t.Fatalf("the latest is %d, %t", v, ok)
			}
		}
		c.drop("999")
		if _, ok := c.get("999"); ok {
			t.Error("it is remembered after drop")
		}
	})
}

// TestAClaimEnds: an event that took on to tell of a merge and was never stored
// loses that to another one, after a while, and to exactly one.
func TestAClaimEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		by := func(key string) merging {
			return merging{key: key, lesser: event.Visitor{AnonymousID: "a"}, who: event.Visitor{UserID: "u", AnonymousID: "a"}}
		}
		l, tells, change := found{}.next(by("first"), true, time.Hour)
		if !tells || !change || l.By != "first" || l.Told {
			t.Fatalf("a new link is %+v, %t, %t", l, tells, change)
		}
		now := found{l, 1}
		if _, tells, change := now.next(by("second"), true, time.Hour); tells || change {
			t.Error("a second event tells it too")
		}
		if _, tells, change := now.next(by("first"), true, time.Hour); !tells || change {
			t.Error("the first event does not tell it again when it is tried again")
		}
		<-time.After(claimLife)
		l, tells, change = now.next(by("second"), true, time.Hour)
		if !tells || !change || l.By != "second" {
			t.Errorf("after a while the second one does not tell it: %+v", l)
		}
		l.Told = true
		now = found{l, 2}
		if _, tells, change := now.next(by("third"), true, time.Hour); tells || change {
			t.Error("it is told again")
		}
		<-time.After(31 * time.Minute)
		if l, tells, change := now.next(by("third"), true, time.Hour); tells || !change || !l.Told {
			t.Errorf("a link in use is not kept alive: %+v", l)
		}
	})
}
