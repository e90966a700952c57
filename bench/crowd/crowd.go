// Package crowd is many idle visitors of a WebSocket server, in a process of
// their own, so that what they cost is not the server's. Both the gateway and
// its peer are measured with it.
package crowd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// Command is the sub-command that makes a program a crowd.
const Command = "crowd"

// Talk is what each visitor says, and how the answers are known.
type Talk struct {
	// Address is host and port of the server, Path that of its WebSocket.
	Address, Path, Origin string
	// Hello is the first frame; %d in it becomes the visitor's number. Welcome is a
	// part of its answer.
	Hello, Welcome string
	// Ask and Answer are the frame that is echoed, and a part of its answer.
	Ask, Answer string
	// Visitors is how many there are.
	Visitors int
}

// order asks for messages at a rate.
type order struct{ Messages, PerSecond int }

// heard is what came of it.
type heard struct {
	LatenciesUS []float64
	Error       string
}

// Crowd is a crowd as its server's process sees it.
type Crowd struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// patience bounds each connection, and the end.
const patience = time.Minute

// Gather starts the crowd by this program, and returns when all are welcomed.
func Gather(program string, t Talk) (*Crowd, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("writing what a crowd says: %w", err)
	}
	c := &Crowd{cmd: exec.Command(program, Command, string(text))} //nolint:gosec,noctx // It is this program, and Part ends it.
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("opening the crowd's input: %w", err)
	}
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("opening the crowd's output: %w", err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the crowd: %w", err)
	}
	c.out = json.NewDecoder(out)
	if _, err := c.hear(); err != nil {
		return nil, errors.Join(err, c.Part())
	}
	return c, nil
}

// Echo has the crowd send the messages, each on another connection than the one
// before, and returns how long each answer took, in microseconds.
func (c *Crowd) Echo(messages, perSecond int) ([]float64, error) {
	if err := json.NewEncoder(c.in).Encode(order{messages, perSecond}); err != nil {
		return nil, fmt.Errorf("asking the crowd: %w", err)
	}
	return c.hear()
}

func (c *Crowd) hear() ([]float64, error) {
	var h heard
	if err := c.out.Decode(&h); err != nil {
		return nil, fmt.Errorf("hearing the crowd: %w", err)
	}
	if h.Error != "" {
		return nil, fmt.Errorf("the crowd: %s", h.Error)
	}
	return h.LatenciesUS, nil
}

// Part ends all connections.
func (c *Crowd) Part() error {
	_ = c.in.Close()
	_ = c.cmd.Process.Kill() // It has nothing to save.
	_ = c.cmd.Wait()         // It was killed.
	return nil
}
