package crowd

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/parley-chat/parley/bench/contend"
)

// Server is what holds a crowd. A round begins with a new one.
type Server interface {
	// Open listens, and returns how to speak to it.
	Open() (Talk, error)
	// Shut ends all that Open has started.
	Shut() error
}

// Held is the job of a server: in its process it holds a crowd, and answers it.
type Held struct {
	server   Server
	visitors int
	rate     int
	empty    int64 // this process's memory with nobody there
	crowd    *Crowd
	values   map[string]float64
	begun    time.Duration // CPU time of this process when the crowd began
}

// Hold returns the job of the server.
func Hold(s contend.Setup, server Server) (*Held, error) {
	empty, err := memory()
	return &Held{server: server, visitors: s.Sessions, rate: s.Window, empty: empty}, err
}

// memory is what this process has when it has freed what it can.
func memory() (int64, error) {
	debug.FreeOSMemory()
	return contend.OwnMemory() //nolint:wrapcheck // It says what it was doing.
}

// used is the CPU time of this process.
func used() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("reading the CPU time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// Round gathers the crowd, or hears its messages and lets it part.
func (h *Held) Round(o contend.Order) (contend.Report, error) {
	if o.Prepare {
		return contend.Report{}, h.gather()
	}
	begun := time.Now()
	latencies, err := h.crowd.Echo(o.Jobs, h.rate)
	r := contend.Report{Jobs: len(latencies), WallUS: float64(time.Since(begun).Microseconds()), LatenciesUS: latencies, Values: h.values}
	now, timed := used()
	h.values[contend.ConnectionCPU] = float64((now - h.begun).Nanoseconds()) / 1000 / float64(h.visitors)
	return r, errors.Join(err, timed, h.part())
}

// gather has everybody connect, and measures what they take.
func (h *Held) gather() error {
	talk, err := h.server.Open()
	if err != nil {
		return err //nolint:wrapcheck // It says what it was doing.
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	if h.begun, err = used(); err != nil {
		return err
	}
	talk.Visitors = h.visitors
	if h.crowd, err = Gather(program, talk); err != nil {
		return err
	}
	full, err := memory()
	h.values = map[string]float64{contend.ConnectionMemory: float64(full-h.empty) / float64(h.visitors)}
	return err
}

// part ends the crowd, and then its server.
func (h *Held) part() error {
	if h.crowd == nil {
		return nil
	}
	err := h.crowd.Part()
	h.crowd = nil
	return errors.Join(err, h.server.Shut())
}

// Close ends what a failed round has left.
func (h *Held) Close() error { return h.part() }
