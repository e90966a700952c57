package bus_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
)

// TestAPartitionThatIsOursByItsRecordOnly stores a claim of a worker that has
// given it up meanwhile, as a slow cluster does. The worker frees the partition,
// and the one whom it is for takes it.
func TestAPartitionThatIsOursByItsRecordOnly(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	nothing := func(context.Context, *bus.Delivery) error { return nil }
	work(t, b, bus.CommandOptions{Worker: "one"}, nothing)
	work(t, b, bus.CommandOptions{Worker: "two"}, nothing)
	shares := func() []bus.Member {
		all := members(t, b)
		if len(all) == 2 && len(all[0].Partitions) == 32 && len(all[1].Partitions) == 32 {
			return all
		}
		return nil
	}
	bustest.Until(t, "both workers have their share", func() bool { return shares() != nil })
	two := shares()[1]

	kv, err := b.KV(t.Context(), bus.BucketGroup)
	if err != nil {
		t.Fatal(err)
	}
	presence, _, err := kv.Get(t.Context(), "w."+two.Group+".one")
	if err != nil {
		t.Fatal(err)
	}
	var one struct{ ID string }
	if err := json.Unmarshal(presence.Value, &one); err != nil {
		t.Fatal(err)
	}
	partition := two.Partitions[5]
	key := fmt.Sprintf("p.%s.%d", two.Group, partition)
	before, _, err := kv.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	late := fmt.Appendf(nil, `{"worker":"one","id":%q}`, one.ID)
	if _, err := kv.Update(t.Context(), key, late, before.Revision); err != nil {
		t.Fatal(err)
	}
	bustest.Until(t, "the partition is with the other worker again", func() bool {
		all := shares()
		return all != nil && slices.Contains(all[1].Partitions, partition)
	})
	after, _, err := kv.Get(t.Context(), key)
	if err != nil || after.Revision < before.Revision+3 {
		t.Errorf("the record has the revision %d, %v; want the late claim, its end and a new one after %d", after.Revision, err, before.Revision)
	}
}
