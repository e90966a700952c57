package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// presence is the value of a worker's key: it says that the worker lives.
type presence struct {
	// ID is new each time that the worker joins, so that a worker that was
	// thought dead does not own what it owned before.
	ID      string    `json:"id"`
	Filters []string  `json:"filters"`
	Since   time.Time `json:"since"`
	Version string    `json:"version,omitempty"`
	// TTL is the life of the key without a heartbeat.
	TTL time.Duration `json:"ttl"`
	// Leaving is true when the worker gives up its partitions.
	Leaving bool `json:"leaving,omitempty"`
}

// record is the value of a partition's key: whose it is. Both are "" when it is
// nobody's. The revision of the key is the epoch, and the fence.
type record struct {
	Worker string `json:"worker"`
	ID     string `json:"id"`
}

func workerKey(group, worker string) string { return "w." + group + "." + worker }

func partitionKey(group string, partition int) string {
	return "p." + group + "." + strconv.Itoa(partition)
}

// parseKey reads a key of the bucket: its kind, w or p, the group, and the name
// of the worker or the number of the partition.
func parseKey(key string) (kind, group, name string, ok bool) {
	parts := strings.Split(key, ".")
	if len(parts) != 3 {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], parts[0] == "w" || parts[0] == "p"
}

// place names a worker or a partition within its group.
type place struct{ group, name string }

// Member is a worker that lives, as the others see it.
type Member struct {
	Worker  string
	Group   string
	Filters []string // What its group takes.
	Since   time.Time
	Version string
	Leaving bool
	// Partitions are those that it owns, in order.
	Partitions []int
	// Lag is how many commands of its partitions are not settled.
	Lag uint64
	// Pending is the lag of each partition, without those that have none. Of a
	// worker that is alone it is not known.
	Pending map[int]uint64
}

// Members returns the workers that live, by group and name.
func (b *Bus) Members(ctx context.Context) ([]Member, error) {
	kv, err := b.KV(ctx, BucketGroup)
	if err != nil {
		return nil, err
	}
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	members := map[place]*Member{}
	ids := map[place]string{}
	owned := map[place]record{}
	err = kv.each(ctx, func(e jetstream.KeyValueEntry) error {
		kind, group, name, ok := parseKey(e.Key())
		if !ok {
			return nil
		}
		if kind == "p" {
			var r record
			err := json.Unmarshal(e.Value(), &r)
			owned[place{group, name}] = r
			return err
		}
		var p presence
		err := json.Unmarshal(e.Value(), &p)
		members[place{group, name}] = &Member{
			Worker: name, Group: group, Filters: p.Filters, Since: p.Since, Version: p.Version, Leaving: p.Leaving,
			Pending: map[int]uint64{},
		}
		ids[place{group, name}] = p.ID
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the bucket %s: %w", BucketGroup, classify(err))
	}
	pending, err := b.pending(ctx)
	if err != nil {
		return nil, err
	}
	for at, r := range owned {
		owner := place{at.group, r.Worker}
		partition, err := strconv.Atoi(at.name)
		if err != nil || members[owner] == nil || ids[owner] != r.ID {
			continue
		}
		m := members[owner]
		m.Partitions = append(m.Partitions, partition)
		if n := pending[place{at.group, at.name}]; n > 0 {
			m.Pending[partition] = n
			m.Lag += n
		}
	}
	for at, m := range members {
		m.Lag += pending[place{at.group, ids[at]}]
	}
	list := make([]Member, 0, len(members))
	for m := range maps.Values(members) {
		slices.Sort(m.Partitions)
		list = append(list, *m)
	}
	slices.SortFunc(list, func(x, y Member) int {
		return cmp.Or(strings.Compare(x.Group, y.Group), strings.Compare(x.Worker, y.Worker))
	})
	return list, nil
}

// pending returns how many commands are not settled, by group and number of the
// partition, or id of the membership of a worker that is alone.
func (b *Bus) pending(ctx context.Context) (map[place]uint64, error) {
	counts := map[place]uint64{}
	err := b.guard(ctx, "$JS.API.", func(ctx context.Context) error {
		stream, err := b.js.Stream(ctx, StreamCommands)
		if err != nil {
			return err
		}
		clear(counts)
		list := stream.ListConsumers(ctx)
		for info := range list.Info() {
			if t, ok := parseConsumer(info.Name); ok {
				name := t.id
				if t.partition >= 0 {
					name = strconv.Itoa(t.partition)
				}
				counts[place{t.group, name}] += info.NumPending + uint64(max(info.NumAckPending, 0))
			}
		}
		return list.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("listing the consumers of %s: %w", StreamCommands, err)
	}
	return counts, nil
}
