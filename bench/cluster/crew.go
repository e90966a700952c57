package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/parley-chat/parley/internal/standin/shop"
	"github.com/parley-chat/parley/internal/vault"
)

const (
	// startLimit bounds the start of a worker, and stopLimit its end.
	startLimit = 90 * time.Second
	stopLimit  = 60 * time.Second
)

// member is one worker process, with the proxy that its bus is behind.
type member struct {
	name  string
	proxy *proxy
	*process
}

// crew is the workers. Its methods are called by one goroutine, but for add.
type crew struct {
	s       settings
	dir     string // logs and configurations
	scratch string // the browsers' folders, which another user must reach
	exe     string
	nats    *nats
	ledger  *ledger
	world   *world // nil without pages

	mu    sync.Mutex // guards the fields below
	count int
	all   []*member
}

// name returns a name that no worker has had.
func (c *crew) name() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	return "w" + strconv.Itoa(c.count)
}

// living returns the workers that have not ended, in the order of their starts.
func (c *crew) living() []*member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.all), func(m *member) bool { return !m.alive() })
}

// add starts a worker of the name, and returns when it has started its parts.
func (c *crew) add(ctx context.Context, name string) error {
	p, err := startProxy(ctx, c.nats.clients())
	if err != nil {
		return err
	}
	m := &member{name: name, proxy: p}
	file, err := c.write(name, urlOf(p.addresses))
	if err == nil {
		m.process, err = launch(ctx, command{
			name: name, path: c.exe, args: []string{workerCommand, file},
			log: filepath.Join(c.dir, name+".log"), ready: readyLine,
		})
	}
	if err != nil {
		p.close()
		return err
	}
	c.mu.Lock()
	c.all = append(c.all, m)
	c.mu.Unlock()
	if err := m.begun(ctx, startLimit); err != nil {
		return fmt.Errorf("%w; see %s", err, filepath.Join(c.dir, name+".log"))
	}
	return nil
}

// write writes the worker's configuration and its brief, whose name it returns.
func (c *crew) write(name, url string) (string, error) {
	config := filepath.Join(c.dir, name+".yaml")
	b := brief{Name: name, Config: config, Mode: c.s.Mode, Work: c.s.Work}
	sites := fmt.Sprintf("  %s: {provider: %s, app_id: any, domains: [load.example.test]}\n", loadSite, loadProvider)
	if c.world != nil {
		b.Resolve, b.TrustSPKI = c.world.hosts.Resolve(), []string{c.world.hosts.SPKI()}
		sites = fmt.Sprintf("  %s: {app_id: %s, domains: [%s]}\n", shopSite, shop.AppID, shop.Host) +
			fmt.Sprintf("  %s: {app_id: %s, domains: [%s%s], url: 'https://%s%s', page: full}\n",
				stuckSite, shop.AppID, shop.Host, stuckPath, shop.Host, stuckPath)
	} else {
		b.Ledger = c.ledger.url
	}
	key := filepath.Join(c.dir, "sessions.key")
	if _, err := vault.Ensure(key); err != nil {
		return "", fmt.Errorf("making the key of stored sessions: %w", err)
	}
	text := fmt.Sprintf(`bus: {url: '%s', replicas: 3}
worker: {name: %s, lanes: 256, grace: 15s}
browser: {dir: %s, tabs: %d, spare: 1}
sessions: {key: 'file:%s'}
telemetry: {level: info, format: json}
sites:
%s`, url, name, c.scratch, max(c.s.Sessions/c.s.Workers/2, 4), key, sites)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("writing the configuration of %s: %w", name, err)
	}
	encoded, err := json.Marshal(b)
	if err != nil {
		return "", fmt.Errorf("encoding what %s is to do: %w", name, err)
	}
	file := filepath.Join(c.dir, name+".json")
	if err := os.WriteFile(file, encoded, 0o600); err != nil {
		return "", fmt.Errorf("writing what %s is to do: %w", name, err)
	}
	return file, nil
}

// stop ends all workers as an operator does. It returns what went wrong, and
// kills those that do not end.
func (c *crew) stop(ctx context.Context) []string {
	var wrong []string
	for _, m := range c.living() {
		if err := m.signal(syscall.SIGTERM); err != nil && m.alive() {
			wrong = append(wrong, err.Error())
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, stopLimit, errors.New("it took too long"))
	defer cancel()
	for _, m := range c.living() {
		if err := m.wait(ctx); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.all {
		if m.alive() {
			m.kill()
			<-m.ended
		} else if status, ok := m.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Exited() && status.ExitStatus() != 0 {
			wrong = append(wrong, fmt.Sprintf("%s ended with the exit code %d", m.name, status.ExitStatus()))
		}
		m.proxy.close()
	}
	return wrong
}

// dump ends all workers in a way that writes what each of their goroutines does
// into their logs, for whoever looks for the reason why commands wait.
func (c *crew) dump() {
	for _, m := range c.living() {
		_ = m.signal(syscall.SIGQUIT) // It fails when it has ended.
	}
}

// kill ends all workers at once, when the run cannot go on.
func (c *crew) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.all {
		m.kill()
		<-m.ended
		m.proxy.close()
	}
}
