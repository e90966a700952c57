package bus

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// PartitionOf returns the partition of the session's commands. It is the
// server's own function, so a session can be found without asking.
func PartitionOf(site, session string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(site + session)) // A hash takes all.
	return int(h.Sum32() % partitions)
}

// queueFilters returns what a worker takes, in a form that names its group. All
// commands, in whatever words, are one filter.
func queueFilters(asked []string) ([]string, error) {
	every, err := event.QueueFilter("*")
	if err != nil {
		return nil, fmt.Errorf("naming all commands: %w", err)
	}
	if len(asked) == 0 || slices.Contains(asked, every) || slices.Contains(asked, everyCommand) {
		return []string{everyCommand}, nil
	}
	for _, filter := range asked {
		if !strings.HasPrefix(filter, everyPartition) {
			return nil, fault.New(fault.BadConfig, "the filter %q is not one of commands", filter).
				WithFix("make filters with event.QueueFilter")
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(asked))), nil
}

// groupOf names the group of the workers that take the same commands.
func groupOf(filters []string) string { return event.DerivedID(filters...)[:groupSize] }

// groupSize is the length of a group's name.
const groupSize = 8

// everyPartition is how a filter of commands begins.
const everyPartition = "cq.*."

// filtersOn narrows the filters to a partition.
func filtersOn(partition int, filters []string) []string {
	narrow := make([]string, len(filters))
	for i, filter := range filters {
		rest := strings.TrimPrefix(filter, everyPartition)
		if filter == everyCommand {
			rest = ">"
		}
		narrow[i] = "cq." + strconv.Itoa(partition) + "." + rest
	}
	return narrow
}

// consumerName names the consumer of a partition for one term of ownership. The
// epoch is the revision of the record that began the term.
func consumerName(partition int, group string, epoch uint64) string {
	return "p" + strconv.Itoa(partition) + "-" + group + "-e" + strconv.FormatUint(epoch, 10)
}

// wholeName names the consumer of a worker that is alone, for one membership.
func wholeName(group, id string) string { return "all-" + group + "-" + id }

// term is what the name of a consumer of commands tells.
type term struct {
	group     string
	partition int    // -1 for all
	epoch     uint64 // of one partition
	id        string // of the membership, for all
}

// parseConsumer reads the name of a consumer of commands.
func parseConsumer(name string) (term, bool) {
	parts := strings.Split(name, "-")
	if len(parts) != 3 {
		return term{}, false
	}
	if parts[0] == "all" {
		return term{group: parts[1], partition: -1, id: parts[2]}, true
	}
	if !strings.HasPrefix(parts[0], "p") || !strings.HasPrefix(parts[2], "e") {
		return term{}, false
	}
	partition, err := strconv.Atoi(parts[0][1:])
	if err != nil || partition < 0 || partition >= partitions {
		return term{}, false
	}
	epoch, err := strconv.ParseUint(parts[2][1:], 10, 64)
	return term{group: parts[1], partition: partition, epoch: epoch}, err == nil
}

// partitionOf reads the partition from the subject of a command in the queue; -1
// when there is none.
func partitionOf(subject string) int {
	rest, ok := strings.CutPrefix(subject, "cq.")
	number, _, found := strings.Cut(rest, ".")
	partition, err := strconv.Atoi(number)
	if !ok || !found || err != nil || partition < 0 || partition >= partitions {
		return -1
	}
	return partition
}
