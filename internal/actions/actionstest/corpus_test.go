package actionstest_test

import (
	"testing"

	"github.com/parley-chat/parley/internal/actions/actionstest"
)

// TestCorpus holds the promised number of texts, each once.
func TestCorpus(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, text := range actionstest.Hostile() {
		if seen[text] {
			t.Errorf("%q is there twice", text)
		}
		seen[text] = true
	}
	if len(seen) < 83 {
		t.Errorf("the corpus has %d texts, fewer than 83", len(seen))
	}
	if got := len(actionstest.Long()); got < 10_000 || got > 10_100 {
		t.Errorf("the long text has %d bytes", got)
	}
}
