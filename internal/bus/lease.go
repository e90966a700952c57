package bus

import "github.com/parley-chat/parley/internal/fault"

// lease is one term of our ownership of a partition.
type lease struct {
	partition int
	fence     uint64
}

// owned returns nil while the partition is surely ours. A nil lease has nothing
// to own.
func (l *lease) owned() error {
	if l == nil {
		return nil
	}
	return fault.New(fault.StaleFence, "the partition %d is not surely ours", l.partition)
}
