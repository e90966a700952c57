package model

import "time"

// planFault lets the next fault happen, while commands come.
func (w *world) planFault() {
	if w.c.Faults <= 0 {
		return
	}
	after := time.Duration(w.fates.ExpFloat64() / w.c.Faults * float64(time.Minute))
	if w.now+after < w.c.Length {
		w.queue.push(event{at: w.now + after, kind: struck})
	}
}

// strike lets a worker join, leave, be killed or freeze, and plans the next
// time. The number of workers stays near what it was.
func (w *world) strike() {
	defer w.planFault()
	what := w.fates.IntN(4)
	switch live := len(w.members); {
	case live >= w.c.Workers+max(2, w.c.Workers/20):
		what = 1 + w.fates.IntN(2)
	case live <= max(1, w.c.Workers-max(2, w.c.Workers/20)):
		what = 0
	}
	if what == 0 {
		w.join(w.hire())
		return
	}
	at := w.anyone()
	if at == nil {
		return
	}
	switch what {
	case 1:
		w.depart(at)
	case 2:
		w.kill(at)
	case 3:
		w.freeze(at)
	}
}

// anyone returns a worker that is well, or nil after a few looks.
func (w *world) anyone() *worker {
	for range 100 {
		at := w.workers[w.fates.IntN(len(w.workers))]
		if at.health == up && w.members[at.id] == at.life {
			return at
		}
	}
	return nil
}

// join makes the worker a member.
func (w *world) join(at *worker) {
	w.ledger.joins++
	w.members[at.id] = at.life
	w.publish()
}

// depart is a planned leave: the worker says in its key that it owns nothing any
// more, hands all over and goes.
func (w *world) depart(at *worker) {
	w.ledger.leaves++
	at.health = leaving
	w.publish()
	for _, p := range at.held() {
		if !at.holds[p].draining {
			w.handOver(at, p)
		}
	}
	w.part(at)
}

// part lets a worker that leaves go when it holds nothing any more. Its key goes
// last: who saw it gone would take over what is still being handed over.
func (w *world) part(at *worker) {
	if at.health == leaving && len(at.holds) == 0 {
		at.health = gone
		delete(w.members, at.id)
	}
}

// kill ends the worker at once. The others see it later; another one takes its
// place after a while.
func (w *world) kill(at *worker) {
	w.ledger.kills++
	for _, p := range at.held() {
		w.records[p].stop(w.now, killed)
	}
	at.health = gone
	w.queue.push(event{at: w.now + w.c.Costs.Detect.draw(w.fates), kind: lost, worker: at.id, life: at.life})
	again := Span{5 * time.Second, 30 * time.Second}
	w.queue.push(event{at: w.now + again.draw(w.fates), kind: hired})
}

// freeze stops the worker for a while. Its key goes when no heartbeat came for
// too long.
func (w *world) freeze(at *worker) {
	w.ledger.pauses++
	for _, p := range at.held() {
		w.records[p].stop(w.now, paused)
	}
	at.health = frozen
	ttl := w.c.Costs.TTL
	beat := w.now - time.Duration(w.fates.Float64()*float64(ttl/4))
	pause := w.c.Costs.Pause.draw(w.fates)
	if beat+ttl < w.now+pause {
		w.queue.push(event{at: beat + ttl, kind: lost, worker: at.id, life: at.life})
	}
	w.plan(pause, resumed, at, 0, 0)
}

// remove takes the worker's key away.
func (w *world) remove(e event) {
	if w.members[e.worker] != e.life {
		return
	}
	delete(w.members, e.worker)
	w.publish()
}

// resume lets a frozen worker go on. When its key is there it goes on as if
// nothing had been. Else its lease is lost: what it was about to do is refused,
// it drops all and joins again.
func (w *world) resume(at *worker) {
	slept := at.slept
	at.slept = nil
	at.health = up
	if w.members[at.id] == at.life {
		for _, p := range at.held() {
			if at.holds[p].active() {
				w.ledger.served(&w.records[p], w.now)
			}
		}
		for _, e := range slept {
			w.happen(at, e)
		}
		for _, p := range at.held() {
			for _, i := range w.parts[p] {
				w.deliver(int(i))
			}
		}
		w.steps(at)
		return
	}
	for _, e := range slept {
		if e.kind != effect && e.kind != done {
			continue
		}
		if w.c.unfenced {
			w.transgress(at, e)
		} else {
			w.ledger.stale++
		}
	}
	w.rebirth(at)
	w.join(at)
}

// transgress is what a worker does that does not ask whether its lease is still
// its own.
func (w *world) transgress(at *worker, e event) {
	if e.kind != effect {
		return
	}
	s := &w.sessions[e.what]
	w.ledger.owner(w.records[s.part], at)
	w.ledger.act(w.now, s, e.number)
}
