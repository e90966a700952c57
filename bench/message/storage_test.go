package message_test

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/bench/message"
)

func TestStorageHasTheBytesAndIsTheSameAgain(t *testing.T) {
	t.Parallel()
	for n := range 16 {
		stored, sum := message.Storage(n), 0
		for name, value := range stored {
			sum += len(name) + len(value)
		}
		if sum < message.StorageBytes || sum > message.StorageBytes*11/10 {
			t.Errorf("storage %d has %d bytes, want about %d", n, sum, message.StorageBytes)
		}
		if diff := cmp.Diff(stored, message.Storage(n)); diff != "" {
			t.Errorf("storage %d is another each time:\n%s", n, diff)
		}
		if maps.Equal(stored, message.Storage(n+1)) {
			t.Errorf("storage %d is the next one, too", n)
		}
	}
}
