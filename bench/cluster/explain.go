package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/parley-chat/parley/internal/bus"
)

// explain writes all that is known of the sessions of the commands that the
// verdict names, for whoever looks for the cause: when each command was sent,
// where it was in the queue, and when which worker did it and told it.
func explain(out io.Writer, e evidence, v verdict) {
	named := map[string]bool{}
	for _, ids := range [][]string{v.Lost, v.Hollow, v.Twice, v.Reordered, v.Stale, v.Failed} {
		for _, id := range ids {
			named[id] = true
		}
	}
	sessions := map[string]bool{}
	for _, c := range e.Sent {
		if named[c.ID] {
			sessions[c.Site+"/"+c.Session] = true
		}
	}
	effects := map[string][]effect{}
	for _, x := range e.Effects {
		effects[x.ID] = append(effects[x.ID], x)
	}
	commands := slices.DeleteFunc(slices.Clone(e.Sent), func(c sent) bool { return !sessions[c.Site+"/"+c.Session] })
	slices.SortStableFunc(commands, func(a, b sent) int {
		return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.Seq, b.Seq))
	})
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tcommand\tsession\tpartition\tseq\tbegun\tconfirmed\tin the queue\tdone\ttold")
	for _, c := range commands {
		mark := ""
		if named[c.ID] {
			mark = "*"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%d%s\t", mark, c.ID, c.Session, c.Partition, c.Seq,
			c.Begun.UTC().Format(clock), c.Acked.UTC().Format(clock), c.Place, map[bool]string{true: " again"}[c.Again])
		for _, x := range effects[c.ID] {
			fmt.Fprintf(w, "%s %s/%d %s ", x.At.UTC().Format(clock), x.Worker, x.Fence, x.Life)
		}
		fmt.Fprint(w, "\t")
		for _, r := range e.Results[c.ID] {
			fmt.Fprintf(w, "%s %s/%d %s %s attempt %d ", r.At.UTC().Format(clock), r.Worker, r.Fence, r.Status, r.Reason, r.Attempt)
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush()
}

// dump keeps who the bus says is there, and whose the partitions are, for whoever
// looks for the reason why commands wait.
func (x *rig) dump(ctx context.Context) {
	file, err := os.Create(filepath.Join(x.dir, "group.txt"))
	if err != nil {
		x.log.LogAttrs(ctx, slog.LevelWarn, "keeping the group", slog.Any("err", err))
		return
	}
	defer file.Close() //nolint:errcheck // It is for people.
	members, err := x.bus.Members(ctx)
	for _, m := range members {
		fmt.Fprintf(file, "%+v\n", m)
	}
	kv, kvErr := x.bus.KV(ctx, bus.BucketGroup)
	if err = errors.Join(err, kvErr); err != nil {
		fmt.Fprintln(file, err)
		return
	}
	keys, err := kv.Keys(ctx)
	for _, key := range keys {
		entry, found, err := kv.Get(ctx, key)
		fmt.Fprintf(file, "%s %d %t %s %v\n", key, entry.Revision, found, entry.Value, err)
	}
	if err != nil {
		fmt.Fprintln(file, err)
	}
}

// clock is the time of day with milliseconds.
const clock = "15:04:05.000"

// timed is the time that something took, rounded for a person.
func timed(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }
