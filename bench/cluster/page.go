package main

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/standin"
	"github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// The sites of the page mode. The second one hangs in every tab.
const (
	shopSite  = "shop"
	stuckSite = "stuck"
	stuckPath = "/loop"
)

// markAttribute carries the place of a command to the vendor, whose ledger knows
// no commands.
const markAttribute = "mark"

// pageAction returns the action of the place within a session, and whether the
// vendor's ledger tells it apart: an update, then open, then close.
func pageAction(seq int) (action string, marked bool) {
	switch seq % 3 {
	case 0:
		return "botstar.widget.update", true
	case 1:
		return "botstar.widget.open", false
	default:
		return "botstar.widget.close", false
	}
}

// world is the vendor and its customer's site, in the parent process, so that
// they outlive all workers. hosts is nil in a run without pages.
type world struct {
	vendor *botstar.Standin
	hosts  *standin.Server
}

// startWorld starts the stand-ins. Close them once.
func startWorld(log *slog.Logger) (*world, error) {
	w := &world{vendor: botstar.New(botstar.Options{Keep: 1 << 20})}
	all := map[string]http.Handler{}
	maps.Copy(all, w.vendor.Hosts())
	maps.Copy(all, shop.New().Hosts())
	var err error
	if w.hosts, err = standin.Start(log, all); err != nil {
		return nil, fmt.Errorf("starting the stand-ins: %w", err)
	}
	return w, nil
}

// marks returns the vendor's record of the marked commands, in its order.
func marks(entries []botstar.Entry, ids map[string]string) []effect {
	var all []effect
	for _, e := range entries {
		text, ok := e.Attributes[markAttribute].(string)
		if e.Kind != botstar.Updated || !ok {
			continue
		}
		seq, err := strconv.Atoi(text)
		if err != nil {
			continue
		}
		session := event.SessionKey(shopSite, event.Visitor{UserID: e.Visitor})
		all = append(all, effect{
			ID: ids[place(session, seq)], Site: shopSite, Session: session, Seq: seq, Life: e.Instance, At: e.At,
		})
	}
	return all
}

// place names a command by its session and its place there.
func place(session string, seq int) string { return session + "/" + strconv.Itoa(seq) }

// unsteady returns what the vendor's record of windows says that must not be:
// within one page life, a window opens or closes only if it was not open or
// closed before. It returns the visitors and the times.
func unsteady(entries []botstar.Entry) []string {
	var wrong []string
	open := map[string]bool{}
	for _, e := range entries {
		if e.Kind != botstar.Opened && e.Kind != botstar.Closed {
			continue
		}
		is := e.Kind == botstar.Opened
		if open[e.Instance] == is {
			wrong = append(wrong, fmt.Sprintf("%s %s twice in one page life at %s", e.Visitor, e.Kind, e.At.Format(time.TimeOnly)))
		}
		open[e.Instance] = is
	}
	return wrong
}
