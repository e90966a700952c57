package botstar

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// RESTFault spoils one call of the REST API. The zero value leaves it as it is.
type RESTFault struct {
	// Delay holds the call back, before anything is done.
	Delay time.Duration
	// Status answers with this status and does nothing. Says is the message.
	Status int
	Says   string
	// RetryAfter is the header of that name, beside Status or Late.
	RetryAfter string
	// Location is the header of that name, for a status that redirects.
	Location string
	// Hollow does nothing, and answers 200 with this body.
	Hollow string
	// Silent does nothing, and never answers.
	Silent bool
	// Lost does what was asked, and never answers.
	Lost bool
	// Late does what was asked, and answers with this status.
	Late int
	// Cut does what was asked, and breaks the answer off in the middle.
	Cut bool
	// Body does what was asked, and answers with this in place of its own body.
	Body string
}

// name says for the ledger which fault it was.
func (f RESTFault) name() string {
	switch {
	case f.Silent:
		return "silent"
	case f.Lost:
		return "lost"
	case f.Late != 0:
		return "late " + strconv.Itoa(f.Late)
	case f.Cut:
		return "cut"
	case f.Body != "":
		return "body"
	case f.Hollow != "":
		return "hollow"
	case f.Status != 0:
		return "status " + strconv.Itoa(f.Status)
	case f.Delay != 0:
		return "delay"
	}
	return ""
}

// answer writes the answer, or what the fault leaves of it.
func (f RESTFault) answer(w http.ResponseWriter, in *http.Request, status int, answer any) {
	if f.Lost || f.Silent {
		<-in.Context().Done()
		return
	}
	body, err := json.Marshal(answer)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"internal"}`)
	}
	if said := orElse(f.Body, f.Hollow); said != "" {
		body = []byte(said)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if f.RetryAfter != "" {
		h.Set("Retry-After", f.RetryAfter)
	}
	if f.Location != "" {
		h.Set("Location", f.Location)
	}
	w.WriteHeader(status)
	if f.Cut {
		body = body[:len(body)/2]
	}
	_, _ = w.Write(body)
}

// RESTFaults are the faults of the calls to come.
type RESTFaults struct {
	// Plan spoils the next calls of an operation, one fault for each, in order.
	Plan map[Operation][]RESTFault
	// Shares spoil calls of every operation by chance.
	Shares []RESTShare
	// Seed makes the chance repeatable.
	Seed uint64
	// Limit is how many calls the account may make in a window; 0 sets no limit.
	Limit Throttle
}

// RESTShare spoils a share of the calls, from 0 to 1.
type RESTShare struct {
	Share float64
	Fault RESTFault
}

// Set replaces the faults of the calls to come.
func (r *REST) Set(f RESTFaults) {
	plan := map[Operation][]RESTFault{}
	for op, faults := range f.Plan {
		plan[op] = append([]RESTFault(nil), faults...)
	}
	r.chance.mu.Lock()
	r.chance.plan, r.chance.shares = plan, f.Shares
	r.chance.dice = rand.New(rand.NewPCG(f.Seed, 1))
	r.chance.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quota = quota{limit: f.Limit}
}

// restChance picks the fault of each call.
type restChance struct {
	mu     sync.Mutex // guards the fields below
	plan   map[Operation][]RESTFault
	shares []RESTShare
	dice   *rand.Rand
}

func (c *restChance) next(op Operation) RESTFault {
	c.mu.Lock()
	defer c.mu.Unlock()
	if planned := c.plan[op]; len(planned) > 0 {
		c.plan[op] = planned[1:]
		return planned[0]
	}
	if c.dice == nil {
		return RESTFault{}
	}
	at := c.dice.Float64()
	for _, share := range c.shares {
		if at < share.Share {
			return share.Fault
		}
		at -= share.Share
	}
	return RESTFault{}
}
