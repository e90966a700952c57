//go:build browser

package browser

import (
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

func TestLoopInACallIsEnded(t *testing.T) {
	t.Parallel()
	p := newPool(t, newSite(t, pages(nil)).options(t))
	tab, other := open(t, p, lightRequest("")), open(t, p, lightRequest(""))
	for range 3 {
		begun := time.Now()
		wantFault(t, tab.Call(within(t, 200*time.Millisecond), "loop", nil, nil), fault.PageHung)
		t.Log("the page was free again after", time.Since(begun))
		if got := ask[int](t, tab, "echo", 3); got != 3 {
			t.Errorf("the freed tab answers %d", got)
		}
	}
	if got := ask[int](t, other, "echo", 3); got != 3 {
		t.Errorf("another tab answers %d", got)
	}
}

// TestPageThatLoopsForEver has a page whose own loop starts again whenever it
// is ended.
func TestPageThatLoopsForEver(t *testing.T) {
	t.Parallel()
	p := newPool(t, newSite(t, pages(nil)).options(t))
	other := open(t, p, lightRequest(""))
	tab := open(t, p, lightRequest(`<script>
const again = new MessageChannel();
function spin() { again.port2.postMessage(0); for (;;) ; }
again.port1.onmessage = spin;
</script>`))
	_ = tab.Call(within(t, 100*time.Millisecond), "run", map[string]any{"name": "spin"}, nil)
	begun := time.Now()
	err := tab.Call(within(t, 200*time.Millisecond), "echo", 1, nil)
	t.Log("the tab was given up after", time.Since(begun), err)
	wantFault(t, err, fault.PageHung)
	<-tab.Done()
	if err := tab.Close(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Log("the tab was closed after", time.Since(begun))
	if got := ask[int](t, other, "echo", 3); got != 3 {
		t.Errorf("another tab answers %d", got)
	}
	open(t, p, lightRequest(""))
}
