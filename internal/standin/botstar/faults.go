package botstar

import (
	"embed"
	"io/fs"
	"net/http"
	"time"

	"github.com/parley-chat/parley/internal/standin"
)

// Faults are the switches for what can go wrong at the vendor. The zero value
// is a vendor in good health.
type Faults struct {
	// Entry, Chunk, Frame and Query spoil one answer of the vendor each:
	// widget.js, the interface chunk, the frame's document, the boot request.
	Entry, Chunk, Frame, Query Fault
	// Open and Close make the widget lie about opening and closing.
	Open, Close Lie
	// Dialog calls "alert", "confirm" or "prompt" whenever the window opens.
	Dialog string
	// Navigate sends the page to this address instead of opening the window.
	Navigate string
	// Loop puts the page into an endless loop once the widget is ready.
	Loop bool
	// Throttle replaces the limit of update calls.
	Throttle Throttle
}

// Fault spoils one answer. The zero value leaves it as it is.
type Fault struct {
	// Delay holds the answer back.
	Delay time.Duration
	// Hang never answers.
	Hang bool
	// Status answers with this status and no content, when it is not 0.
	Status int
	// Script answers with a script that is broken in this way.
	Script Breakage
}

// Breakage is the way in which a script is broken.
type Breakage string

// The ways.
const (
	Throws      Breakage = "throws" // It throws when it runs.
	SyntaxError Breakage = "syntax" // It does not parse.
)

// Lie is how the widget misbehaves on open or close.
type Lie string

// The lies.
const (
	LieThrows  Lie = "throws"  // The call throws.
	LieIgnored Lie = "ignored" // Nothing happens.
	LieSilent  Lie = "silent"  // It happens, and no listener hears of it.
	LieHollow  Lie = "hollow"  // The listeners hear of it, and it does not happen.
)

// Throttle is the limit of update calls for one visitor.
type Throttle struct {
	// Limit is the number of calls in the window; 0 means 20, and a negative
	// number means that none is let through.
	Limit int
	// Window is the sliding window; 0 means 30 minutes.
	Window time.Duration
}

//go:embed js/broken
var brokenScripts embed.FS

// before puts the fault in front of an answer.
func (s *Standin) before(pick func(Faults) Fault, delay time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fault := pick(s.current.Load().faults)
		if fault.Hang {
			<-r.Context().Done()
			return
		}
		if !wait(r, delay+fault.Delay) {
			return
		}
		switch {
		case fault.Status != 0:
			w.Header().Set("Cache-Control", standin.Never)
			w.WriteHeader(fault.Status)
		case fault.Script != "":
			serveBroken(w, r, fault.Script)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// wait reports whether the time has passed before the browser gave up.
func wait(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

func serveBroken(w http.ResponseWriter, r *http.Request, how Breakage) {
	body, err := fs.ReadFile(brokenScripts, "js/broken/"+string(how)+".js")
	if err != nil {
		http.Error(w, "there is no script broken in the way "+string(how), http.StatusInternalServerError)
		return
	}
	standin.NewBlob(javascript, standin.Never, body).ServeHTTP(w, r)
}
