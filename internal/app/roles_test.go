package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/workflow/engine"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

const (
	splitBot = "sb0700000-0000-4000-8000-000000000001"
	splitApp = "s0a1b2c3d-0000-4000-8000-000000000001"
	// splitKey proves both the senders of events and the worker to the vendor.
	splitKey = "a-secret-of-the-splitRoles"
	// splitRest is how long the workflow of the splitRoles waits between its steps.
	splitRest = 300 * time.Millisecond
	// splitSenders send one event after another, each for visitors of its own, of
	// whom each has splitEach events.
	splitSenders, splitEach = 4, 4
)

// splitRoles is workers with split roles, each a process of its own, on one outside
// NATS server. Events come in at the edge, two workers stand by for the
// workflows, and one acts on the vendor, which is here and counts.
type splitRoles struct {
	t      *testing.T
	bus    *bus.Bus
	file   string // the configuration of all
	vendor *botstar.REST
	items  string // the address of the vendor's list of what was made
	client *http.Client
	rounds atomic.Int64 // how often an event was sent

	// steady is held by who hurts the servers, and by those who start workers: a
	// worker that finds no streams ends, and is started again by others.
	steady sync.RWMutex

	mu   sync.Mutex // guards the fields below
	edge *proc
	at   string // where the edge listens
}

// newSplitRoles prepares the workers on the servers with the address, of which so
// many keep each stream.
func newSplitRoles(t *testing.T, nats string, replicas int) *splitRoles {
	t.Helper()
	vendor := botstar.New(botstar.Options{Keep: 1, Token: splitKey, Bots: []botstar.Bot{{ID: splitBot, AppID: splitApp, Name: "Nova"}}})
	api := httptest.NewServer(vendor.Hosts()[botstar.APIHost])
	t.Cleanup(api.Close)
	transport := &http.Transport{DisableKeepAlives: true}
	c := &splitRoles{t: t, vendor: vendor.REST(), client: &http.Client{Transport: transport, Timeout: 20 * time.Second}}
	entities := api.URL + "/v1/bots/" + splitBot + "/cms_entities"
	var entity struct {
		ID string `json:"id"`
	}
	c.ask(http.MethodPost, entities, `{"name":"done"}`, &entity)
	c.items = entities + "/" + entity.ID + "/items"
	c.bus = bustest.Open(t, bus.Options{URL: nats, Replicas: replicas})
	c.configure(fmt.Sprintf("url: '%s', replicas: %d", nats, replicas), api.URL+"/v1", entity.ID)
	return c
}

// configure writes the one configuration of all workers, and their workflow.
func (c *splitRoles) configure(on, api, entity string) {
	c.t.Helper()
	dir := c.t.TempDir()
	c.file = filepath.Join(dir, ConfigFile)
	key := filepath.Join(dir, "key")
	step := "{name: %s, action: botstar.cms_items.create, params: {entity_id: " + entity + `, name: "${ trigger.properties.number } %s"}}` + "\n"
	for name, content := range map[string]string{
		key: splitKey + "\n",
		c.file: fmt.Sprintf("bus: {%s}\nworkflows: {files: [twice.yaml]}\n"+
			"ingest: {listen: '127.0.0.1:0', sources: {web: {type: plain, site: shop, token: ['file:%s']}}}\n"+
			"sites: {shop: {app_id: %s, bot_id: %s, domains: [shop.example.test], rest: {base_url: '%s', token: 'file:%s'}}}\n",
			on, key, splitApp, splitBot, api, key),
		filepath.Join(dir, "twice.yaml"): fmt.Sprintf("on: {trigger: track, event: Begin}\nsteps:\n  - "+step+"  - after: %s\n  - "+step,
			"first", "first", splitRest, "second", "second"),
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
}

// start starts a worker with the role.
func (c *splitRoles) start(role, name string) *proc {
	c.t.Helper()
	c.steady.RLock()
	defer c.steady.RUnlock()
	return startCommand(c.t, "run", "--config", c.file, "--roles", role, "--name", name)
}

// open starts the edge: the first one, or one in the place of one that is gone.
func (c *splitRoles) open(number int) {
	edge := c.start(roleIngest, fmt.Sprintf("edge-%d", number))
	_, rest, _ := strings.Cut(edge.said(), `"address":"`)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.edge = edge
	c.at, _, _ = strings.Cut(rest, `"`)
}

// address returns where the edge listens, or "" while there is none.
func (c *splitRoles) address() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// ask asks the vendor.
func (c *splitRoles) ask(method, url, body string, into any) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+splitKey)
	request.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil || response.StatusCode >= 300 {
		c.t.Fatalf("%s %s is answered %d: %v", method, url, response.StatusCode, err)
	}
}

// begin returns the request that sends an event of a visitor to the edge.
func (c *splitRoles) begin(at, visitor string, number int) (*http.Request, error) {
	c.rounds.Add(1)
	body := fmt.Sprintf(`{"id":"m-%d","event":"Begin","user_id":%q,"properties":{"number":"%06d"}}`, number, visitor, number)
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, "http://"+at+"/in/web", strings.NewReader(body))
	if err == nil {
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+splitKey)
	}
	return request, err
}

// send sends an event until it is confirmed, as a sender does, and reports
// whether an earlier try had stored it.
func (c *splitRoles) send(visitor string, number int) (repeated bool) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		switch status := c.try(visitor, number); status {
		case http.StatusAccepted, http.StatusOK:
			return status == http.StatusOK
		case 0, http.StatusTooManyRequests, http.StatusServiceUnavailable: // It says to come again.
		default:
			c.t.Errorf("event %d is answered %d", number, status)
			return false
		}
		select { // Nobody answered: the next one will.
		case <-tick.C:
		case <-c.t.Context().Done():
			return false
		}
	}
}

// try sends an event, and returns the status of the answer, or 0 without one.
func (c *splitRoles) try(visitor string, number int) int {
	at := c.address()
	if at == "" {
		return 0
	}
	request, err := c.begin(at, visitor, number)
	if err != nil {
		c.t.Error(err)
		return 0
	}
	response, err := c.client.Do(request)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return response.StatusCode
}

// orphan sends an event, and kills the edge when it is stored and before its
// sender has read the answer. It returns when another edge is there.
func (c *splitRoles) orphan(visitor string, number int) {
	c.t.Helper()
	subject := event.TriggerSubject("*", "*", "shop", event.SessionKey("shop", event.Visitor{UserID: visitor}))
	tries := time.NewTicker(time.Second)
	defer tries.Stop()
	for stored := false; !stored; { // Servers that are hurt may have it answered that it shall come again.
		stored = c.within(tries.C, subject, c.whisper(c.address(), visitor, number))
	}
	c.mu.Lock()
	edge := c.edge
	c.edge, c.at = nil, ""
	c.mu.Unlock()
	edge.end(syscall.SIGKILL)
	c.open(number)
}

// whisper sends an event, and reads no answer until the test is over.
func (c *splitRoles) whisper(at, visitor string, number int) net.Conn {
	c.t.Helper()
	request, err := c.begin(at, visitor, number)
	if err != nil {
		c.t.Fatal(err)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(c.t.Context(), "tcp", at)
	if err == nil {
		err = request.Write(conn)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return conn
}

// within reports whether a message of the subject is stored before the time has
// come. It closes the connection.
func (c *splitRoles) within(over <-chan time.Time, subject string, conn net.Conn) bool {
	defer func() { _ = conn.Close() }()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, stored, err := c.bus.Last(c.t.Context(), subject); err == nil && stored {
			return true
		}
		select {
		case <-tick.C:
		case <-over:
			return false
		case <-c.t.Context().Done():
			return true
		}
	}
}

// leads matches what a worker logs when it leads the workflows.
var leads = regexp.MustCompile(`"leads now".*"term":(\d+)`)

// term returns the latest term in which the worker led, or 0.
func term(p *proc) uint64 {
	latest := uint64(0)
	for _, match := range leads.FindAllStringSubmatch(p.said(), -1) {
		if n, err := strconv.ParseUint(match[1], 10, 64); err == nil {
			latest = max(latest, n)
		}
	}
	return latest
}

// depose kills the leader of the workflows, at random instants, so often; each
// time the one that stood by takes over, and another one stands by. Whenever one
// leads, every sender may send some more. It returns those that are left.
func (c *splitRoles) depose(kills int, senders []chan struct{}) []*proc {
	for _, more := range senders {
		defer close(more)
	}
	random := rand.New(rand.NewPCG(20261125, 4))
	standing := []*proc{c.start(roleWorkflows, "flow-a"), c.start(roleWorkflows, "flow-b")}
	last := uint64(0)
	for i := range kills {
		leader := -1
		bustest.Until(c.t, "one leads that did not before", func() bool {
			leader = slices.IndexFunc(standing, func(p *proc) bool { return term(p) > last })
			return leader >= 0
		})
		last = term(standing[leader])
		for _, more := range senders {
			more <- struct{}{}
		}
		timer := time.NewTimer(time.Duration(random.Int64N(int64(400 * time.Millisecond))))
		<-timer.C
		standing[leader].end(syscall.SIGKILL)
		standing[leader] = c.start(roleWorkflows, fmt.Sprintf("flow-%d", i))
	}
	return standing
}

// TestSplitRoles runs the roles of a worker in processes of their own. The one
// that leads the workflows is killed again and again, and so is the edge, each
// time between the store and the answer; senders try again. Then the ledgers are
// compared: what was confirmed, what is on the bus, which runs there were, and
// what the vendor was asked to do.
func TestSplitRoles(t *testing.T) {
	t.Parallel()
	c := newSplitRoles(t, bustest.Serve(t).URL(), 1)
	c.ordeal(bustest.Count(96, 4800), bustest.Count(3, 100), bustest.Count(3, 60), func() {})
}

// TestCrewProcess is a server of TestSplitRolesInCluster.
func TestCrewProcess(t *testing.T) { bustest.CrewProcess(t) } //nolint:paralleltest // It is a process of its own.

// TestSplitRolesInCluster is TestSplitRoles on three NATS servers, of which one
// after the other is killed meanwhile.
func TestSplitRolesInCluster(t *testing.T) {
	t.Parallel()
	servers := bustest.Count(0, 20)
	if servers == 0 {
		t.Skip("three servers and four workers are much for a small machine: only with -soak")
	}
	crew := bustest.ServeCrew(t)
	c := newSplitRoles(t, crew.URL(), 3)
	random := rand.New(rand.NewPCG(20261125, 6))
	c.ordeal(960, 20, 20, func() {
		for i := range servers {
			timer := time.NewTimer(time.Duration(random.Int64N(int64(2 * time.Second))))
			<-timer.C
			c.hurt(func() { crew.Restart(i % 3) })
		}
	})
	t.Logf("%d times a server was killed", servers)
}

// hurt hurts the servers while nobody starts.
func (c *splitRoles) hurt(how func()) {
	c.steady.Lock()
	defer c.steady.Unlock()
	how()
}

// ordeal sends events, and kills the edge and the leader of the workflows so
// often, while something else happens. Then it compares the ledgers.
func (c *splitRoles) ordeal(events, orphans, kills int, meanwhile func()) {
	t := c.t
	t.Helper()
	each := events / kills / splitSenders // of a sender, in the time of one leader
	c.open(0)
	actor := startWorker(t, childConfig{Dir: filepath.Dir(c.file), Roles: []string{roleActions}, Pageless: true})
	var running sync.WaitGroup
	var standing []*proc
	senders := make([]chan struct{}, splitSenders)
	var repeated atomic.Int64
	for sender := range senders {
		senders[sender] = make(chan struct{}, kills)
		running.Go(func() {
			for i := 0; i < kills*each; i++ {
				if i%each == 0 {
					<-senders[sender]
				}
				if c.send(fmt.Sprintf("u-%d-%d", sender, i/splitEach), i*splitSenders+sender) {
					repeated.Add(1)
				}
			}
		})
	}
	running.Go(meanwhile)
	running.Go(func() { standing = c.depose(kills, senders) })
	for i := range orphans {
		visitor := fmt.Sprintf("u-orphan-%d", i)
		c.orphan(visitor, events+i)
		if !c.send(visitor, events+i) {
			t.Errorf("event %d was stored, and its second try was not told so", events+i)
		}
	}
	running.Wait()
	if t.Failed() {
		return
	}
	all := events + orphans
	bustest.Until(t, "every run has ended", func() bool { return c.ended() >= all })
	c.check(all)
	t.Logf("%d events in %d tries; the edge was killed %d times between store and answer, and %d other tries had stored theirs; the leader was killed %d times",
		all, c.rounds.Load(), orphans, repeated.Load(), kills)
	bustest.Close(t, c.bus)
	for _, p := range append(standing, c.edge, actor) {
		if code := p.end(syscall.SIGTERM); code != 0 {
			t.Errorf("a worker ended with %d", code)
		}
	}
}

// ended returns how many runs have ended.
func (c *splitRoles) ended() int {
	n := 0
	for d, err := range c.bus.LastEach(c.t.Context(), event.RunSubject("shop", "*", "*")) {
		if err == nil && d != nil {
			n++
		}
	}
	return n
}

// check compares the ledgers with the numbers of the events from 0 on.
func (c *splitRoles) check(all int) {
	c.t.Helper()
	stored, early := c.commands(all)
	runs := c.runs()
	made := c.made()
	lost, twice := 0, 0
	count := func(n int) {
		if n == 0 {
			lost++
		}
		twice += max(0, n-1)
	}
	for i := range all {
		id := fmt.Sprintf("m-%d", i)
		count(stored[id])
		count(runs[id])
		for _, step := range []string{"first", "second"} {
			count(stored[id+" "+step])
			count(made[fmt.Sprintf("%06d %s", i, step)])
		}
	}
	c.t.Logf("events %d, runs %d, effects %d: lost %d, twice %d, early %d", all, len(runs), len(made), lost, twice, early)
	if lost+twice+early > 0 || len(runs) != all || c.vendor.Effects(botstar.CreateItem) != 2*all {
		c.t.Errorf("the vendor made %d items", c.vendor.Effects(botstar.CreateItem))
	}
	for letter, err := range c.bus.DeadLetters(c.t.Context(), "") {
		c.t.Errorf("a dead letter: %+v, %v", letter, err)
	}
}

// commands returns how often each trigger is stored, by its id, and each command,
// by the trigger's id and the step. It counts the second steps that were stored
// before they were due, and fails when the first ones of a visitor are out of
// order.
func (c *splitRoles) commands(all int) (stored map[string]int, early int) {
	c.t.Helper()
	stored = make(map[string]int, 3*all)
	since, latest := map[string]time.Time{}, map[string]string{}
	for d, err := range c.bus.Read(c.t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{event.TriggerFilter(), "go.*.*.*.*.*.*"}}) {
		if err != nil {
			c.t.Fatal(err)
		}
		e, err := d.Envelope()
		if err != nil {
			c.t.Fatal(err)
		}
		if !strings.HasPrefix(d.Subject, "go.") {
			stored[e.ID]++
			since[e.ID] = d.StoredAt
			continue
		}
		id := e.Extension(event.ExtCausationID)
		_, name, _ := bytes.Cut(e.Data, []byte(`"name":"`))
		number, _, _ := strings.Cut(string(name), " ")
		if bytes.Contains(e.Data, []byte(" second")) {
			stored[id+" second"]++
			if d.StoredAt.Sub(since[id]) < splitRest {
				early++
			}
			continue
		}
		stored[id+" first"]++
		if number < latest[e.Subject] {
			c.t.Errorf("%s: %s comes after %s", e.Subject, number, latest[e.Subject])
		}
		latest[e.Subject] = number
	}
	return stored, early
}

// runs returns how many runs each trigger started, by its id.
func (c *splitRoles) runs() map[string]int {
	c.t.Helper()
	runs := map[string]int{}
	for run, err := range engine.ListRuns(c.t.Context(), c.bus, engine.Filter{}) {
		if err != nil {
			c.t.Fatal(err)
		}
		if run.Status != machine.Succeeded {
			c.t.Errorf("run %s ended as %s: %s", run.ID, run.Status, run.Reason)
		}
		runs[run.Trigger.ID]++
	}
	return runs
}

// made returns how often the vendor made each item, by its name.
func (c *splitRoles) made() map[string]int {
	c.t.Helper()
	made := map[string]int{}
	for page := 1; ; page++ {
		var items []struct {
			Name string `json:"name"`
		}
		c.ask(http.MethodGet, c.items+"?page="+strconv.Itoa(page), "", &items)
		for _, item := range items {
			made[item.Name]++
		}
		if len(items) < 100 {
			return made
		}
	}
}
