package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
	"github.com/parley-chat/parley/internal/telemetry"
)

// What a worker is asked by the commands of an operator: see bus.Ask.
const (
	verbStatus = "status"
	verbList   = "list"
	verbShow   = "show"
	verbEvict  = "evict"
	verbPin    = "pin"
	verbUnpin  = "unpin"
	verbErase  = "erase"
	verbDrain  = "drain"
	verbResume = "resume"
)

// mostListed bounds one answer: it has to fit into a message.
const mostListed = 1000

// question is the body of a question. A verb uses some of the fields.
type question struct {
	// Key is a session's key.
	Key string `json:"key,omitempty"`
	// Site, Prefix of the key and State choose sessions; "" chooses all.
	Site   string `json:"site,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	State  string `json:"state,omitempty"`
	// Most bounds a list. 0 is as many as an answer holds.
	Most    int           `json:"most,omitempty"`
	Visitor event.Visitor `json:"visitor,omitzero"`
}

// roll is the answer to verbList.
type roll struct {
	Sessions []session.Info `json:"sessions"`
	// Total is how many there are, of which the list may be the beginning.
	Total int `json:"total"`
}

// status is the answer to verbStatus.
type status struct {
	Version    string `json:"version"`
	Draining   bool   `json:"draining,omitempty"`
	Sessions   int    `json:"sessions"`
	Pages      int    `json:"pages"`
	Waiting    int    `json:"waiting"`
	Partitions int64  `json:"partitions"`
	// Memory is what the browsers use, in bytes; 0 when it was not measured.
	Memory int64 `json:"memory,omitempty"`
}

// answer answers a question of an operator.
func (s *System) answer(ctx context.Context, verb string, body []byte) ([]byte, error) {
	var q question
	if len(body) > 0 {
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, fault.New(fault.Malformed, "reading the question %s", verb).Because(err)
		}
	}
	answer, err := s.obey(ctx, verb, q)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return nil, fault.New(fault.InternalError, "writing the answer to %s", verb).Because(err)
	}
	return text, nil
}

// obey does what the question asks for, and returns its answer.
func (s *System) obey(ctx context.Context, verb string, q question) (any, error) {
	if verb != verbStatus && verb != verbList && verb != verbShow {
		s.log.LogAttrs(ctx, slog.LevelInfo, "an operator asks", slog.String("verb", verb), slog.String("session", q.Key), slog.String("site", q.Site))
	}
	switch verb {
	case verbStatus:
		return s.status(), nil
	case verbList:
		return rollOf(s.sessions.List(), q), nil
	case verbShow:
		return s.sessions.Show(ctx, q.Key)
	case verbEvict:
		return struct{}{}, s.sessions.Evict(ctx, q.Key)
	case verbPin, verbUnpin:
		return struct{}{}, s.sessions.Pin(q.Key, verb == verbPin)
	case verbErase:
		return struct{}{}, s.erase(ctx, q)
	case verbDrain:
		ctx, cancel := context.WithTimeout(ctx, s.cfg.Worker.Grace+closeTimeout)
		defer cancel()
		if err := s.worker.Drain(ctx); err != nil {
			return nil, err
		}
		return s.status(), nil
	case verbResume:
		s.worker.Resume()
		return s.status(), nil
	}
	return nil, fault.New(fault.UnknownAction, "the worker does not know how to %q", verb).
		WithFix("worker and command are of different versions: this worker is %s", telemetry.Version())
}

func (s *System) erase(ctx context.Context, q question) error {
	if _, ok := s.cfg.Site(q.Site); !ok {
		return fault.New(fault.UnknownSite, "no site is called %q", q.Site)
	}
	if q.Visitor.Key() == "" {
		return fault.New(fault.SchemaViolation, "no visitor is named").At("/visitor")
	}
	if err := s.sessions.Erase(ctx, q.Site, q.Visitor); err != nil {
		return fmt.Errorf("erasing the visitor: %w", err)
	}
	return nil
}

func (s *System) status() status {
	held, owned := s.sessions.Stats(), s.bus.Stats()
	return status{
		Version: telemetry.Version(), Draining: s.worker.Draining(), Sessions: held.Sessions, Pages: held.Pages,
		Waiting: held.Residency.Waiting, Partitions: owned.Owned, Memory: held.Memory,
	}
}

// rollOf returns the sessions that the question chooses, those with a page and
// those that were used last first.
func rollOf(all []session.Info, q question) roll {
	all = slices.DeleteFunc(all, func(i session.Info) bool {
		return q.Site != "" && i.Site != q.Site || q.State != "" && i.State != q.State || !strings.HasPrefix(i.Session, q.Prefix)
	})
	slices.SortStableFunc(all, func(a, b session.Info) int {
		if (a.State == session.Held) != (b.State == session.Held) {
			if a.State == session.Held {
				return -1
			}
			return 1
		}
		return b.UsedAt.Compare(a.UsedAt)
	})
	most := mostListed
	if q.Most > 0 {
		most = min(most, q.Most)
	}
	return roll{Sessions: all[:min(len(all), most)], Total: len(all)}
}

// lagEvery is the time between two looks at how many commands wait.
const lagEvery = 10 * time.Second

// watchLag keeps the number of commands that wait in our partitions.
func (s *System) watchLag(ctx context.Context) error {
	tick := time.NewTicker(lagEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		members, err := s.bus.Members(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.log.LogAttrs(ctx, slog.LevelDebug, "asking how many commands wait", slog.Any("err", err))
			}
			continue
		}
		var pending uint64
		for _, m := range members {
			if m.Worker == s.cfg.Worker.Name {
				for _, n := range m.Pending {
					pending += n
				}
			}
		}
		s.pending.Store(int64(min(pending, 1<<62)))
	}
}
