package ours

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

// partitions is how many the queue of commands has.
const partitions = 64

// crew is a number of worker processes on one NATS server, which runs in this
// process and listens on the loopback interface.
type crew struct {
	dir     string
	bus     *bus.Bus
	lanes   int // of each worker
	count   int
	members map[string]*exec.Cmd
	deeds   *deeds
}

// startCrew starts the server and so many workers.
func startCrew(ctx context.Context, dir string, workers, lanes int) (_ *crew, err error) {
	c := &crew{dir: dir, lanes: lanes, members: map[string]*exec.Cmd{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.end(ctx))
		}
	}()
	if c.bus, err = openBus(ctx, bus.Options{Dir: filepath.Join(dir, "nats"), Listen: "127.0.0.1:0"}); err != nil {
		return nil, err
	}
	c.deeds = follow(ctx, c.bus)
	for range workers {
		if err := c.add(ctx); err != nil {
			return nil, err
		}
	}
	return c, c.settled(ctx)
}

// add starts one more worker, and returns when it has started its parts. It dies
// with this process's group.
func (c *crew) add(ctx context.Context) error {
	c.count++
	name := fmt.Sprintf("w%d", c.count)
	file := filepath.Join(c.dir, name+".yaml")
	if err := writeConfig(file, name, c.bus.URL(), c.lanes); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, WorkCommand, file) //nolint:gosec // it is this program.
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("preparing the worker %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the worker %s: %w", name, err)
	}
	c.members[name] = cmd
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != readyLine+"\n" {
		return fmt.Errorf("the worker %s is not ready, it says %q: %w", name, line, err)
	}
	return nil
}

// signal sends a signal to a worker.
func (c *crew) signal(name string, s syscall.Signal) error {
	if err := c.members[name].Process.Signal(s); err != nil {
		return fmt.Errorf("sending %s to %s: %w", s, name, err)
	}
	return nil
}

// gone waits for the end of a worker that was told to end, or killed.
func (c *crew) gone(name string) error {
	cmd := c.members[name]
	delete(c.members, name)
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	err := cmd.Wait()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok && !ended.Exited() && late.Stop() {
		return nil // As it was killed.
	}
	if err != nil {
		return fmt.Errorf("ending the worker %s: %w", name, err)
	}
	return nil
}

// settled waits until the living workers share the partitions evenly.
func (c *crew) settled(ctx context.Context) error {
	most := (partitions + len(c.members) - 1) / len(c.members)
	var last []string
	even := func() bool {
		now, err := c.bus.Members(ctx)
		if err != nil {
			last = []string{err.Error()}
			return false
		}
		sum, fair := 0, len(now) == len(c.members)
		last = nil
		for _, m := range now {
			sum += len(m.Partitions)
			fair = fair && len(m.Partitions) <= most && !m.Leaving
			last = append(last, fmt.Sprintf("%s has %d", m.Worker, len(m.Partitions)))
		}
		return fair && sum == partitions
	}
	if err := until(ctx, even); err != nil {
		return fmt.Errorf("waiting until %d workers share the partitions (%s): %w", len(c.members), strings.Join(last, ", "), err)
	}
	return nil
}

// owned returns the partitions of the worker.
func (c *crew) owned(ctx context.Context, name string) ([]int, error) {
	all, err := c.bus.Members(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for the workers: %w", err)
	}
	for _, m := range all {
		if m.Worker == name {
			return m.Partitions, nil
		}
	}
	return nil, fmt.Errorf("there is no worker %s", name)
}

// until looks again and again, until the function says yes.
func until(ctx context.Context, yes func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !yes() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Close is end.
func (c *crew) Close() error { return c.end(context.Background()) }

// end ends the workers as an operator does, and then the server.
func (c *crew) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	var all []error
	for name := range c.members {
		all = append(all, c.signal(name, syscall.SIGTERM), c.signal(name, syscall.SIGCONT))
	}
	for name := range c.members {
		all = append(all, c.gone(name))
	}
	if c.deeds != nil {
		all = append(all, c.deeds.stop())
	}
	if c.bus != nil {
		all = append(all, c.bus.Close(ctx))
	}
	return errors.Join(all...)
}

// spread returns numbers of visitors, as message.Command takes them: so many of
// each partition, one of each after another.
func spread(each int) []int {
	byPartition := make([][]int, partitions)
	for n, full := 0, 0; full < partitions; n++ {
		at := partitionOf(n)
		if len(byPartition[at]) == each {
			continue
		}
		if byPartition[at] = append(byPartition[at], n); len(byPartition[at]) == each {
			full++
		}
	}
	var all []int
	for i := range each {
		for _, list := range byPartition {
			all = append(all, list[i])
		}
	}
	return all
}

// partitionOf returns the partition of the visitor's commands.
func partitionOf(visitor int) int {
	return bus.PartitionOf(message.Site, message.Command(0, visitor).Extension(event.ExtPartitionKey))
}
