//go:build browser

package browser

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCallOnLightPage(t *testing.T) {
	t.Parallel()
	p := newPool(t, newSite(t, pages(nil)).options(t))
	tab := open(t, p, lightRequest("<p>hello"))
	type thing struct {
		Text string
		N    []int
	}
	want := thing{"a\"'\u2028</script>\\", []int{1, 2}}
	if diff := cmp.Diff(want, ask[thing](t, tab, "echo", want)); diff != "" {
		t.Errorf("echo changed the value (-want +got):\n%s", diff)
	}
	if got, want := ask[string](t, tab, "where", nil), "https://"+shopHost+"/"; got != want {
		t.Errorf("the light page is at %q, want %q", got, want)
	}
	look := ask[map[string]string](t, tab, "look.at", nil)
	if diff := cmp.Diff(map[string]string{"title": "light", "page": "undefined", "name": "look.at"}, look); diff != "" {
		t.Errorf("the isolated world (-want +got):\n%s", diff)
	}
	if err := tab.Call(within(t, 5*time.Second), "echo", 1, nil); err != nil {
		t.Error(err)
	}
}

func TestEventsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	p := newPool(t, newSite(t, pages(nil)).options(t))
	tab := open(t, p, lightRequest(""))
	const count = 500
	ask[int](t, tab, "emit", count) // before anybody listens
	next := 0
	for raw, err := range tab.Events(within(t, 5*time.Second)) {
		if err != nil {
			t.Fatal(err)
		}
		var signal struct{ Seq int }
		if err := json.Unmarshal(raw, &signal); err != nil {
			t.Fatal(err)
		}
		if signal.Seq != next {
			t.Fatalf("signal %d came in the place of %d", signal.Seq, next)
		}
		if next++; next == count {
			break
		}
	}
	if next != count {
		t.Errorf("%d signals came, want %d", next, count)
	}
}
