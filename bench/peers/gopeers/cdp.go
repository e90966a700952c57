package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// chromium is a browser at the end of a pipe, and the least that can speak to
// it: one message of JSON after another, each ended by a zero byte.
type chromium struct {
	cmd   *exec.Cmd
	to    *os.File
	ended chan struct{}

	mu      sync.Mutex // guards the fields below
	last    int
	waiting map[int]chan answer
	heard   map[string]chan json.RawMessage
}

// answer is the browser's answer to one call.
type answer struct {
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// startChromium starts the browser with the flags.
func startChromium(binary string, flags []string) (*chromium, error) {
	toRead, toWrite, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("opening a pipe: %w", err)
	}
	fromRead, fromWrite, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("opening a pipe: %w", err)
	}
	cmd := exec.Command(binary, append([]string{"--remote-debugging-pipe"}, flags...)...)
	cmd.ExtraFiles = []*os.File{toRead, fromWrite} // descriptors 3 and 4
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", binary, err)
	}
	if err := errors.Join(toRead.Close(), fromWrite.Close()); err != nil {
		return nil, fmt.Errorf("closing the browser's ends: %w", err)
	}
	c := &chromium{
		cmd: cmd, to: toWrite, ended: make(chan struct{}),
		waiting: map[int]chan answer{}, heard: map[string]chan json.RawMessage{},
	}
	go c.read(fromRead)
	return c, nil
}

// read hands every message to whoever waits for it.
func (c *chromium) read(from *os.File) {
	defer close(c.ended)
	lines := bufio.NewReaderSize(from, 1<<20)
	for {
		line, err := lines.ReadBytes(0)
		if err != nil {
			return
		}
		var head struct {
			ID     int             `json:"id"`
			Method string          `json:"method"`
			Params json.RawMessage `json:"params"`
			answer
		}
		if err := json.Unmarshal(line[:len(line)-1], &head); err != nil {
			return
		}
		c.mu.Lock()
		if head.ID != 0 {
			c.waiting[head.ID] <- head.answer
			delete(c.waiting, head.ID)
		} else if to := c.heard[head.Method]; to != nil {
			select {
			case to <- head.Params:
			default: // Nobody waits for so many.
			}
		}
		c.mu.Unlock()
	}
}

// hear returns the channel of an event's parameters.
func (c *chromium) hear(method string) <-chan json.RawMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard[method] = make(chan json.RawMessage, 16)
	return c.heard[method]
}

// call sends one command, to the session if it is not "", and waits.
func (c *chromium) call(session, method string, params, out any) error {
	message := struct {
		ID        int    `json:"id"`
		SessionID string `json:"sessionId,omitempty"`
		Method    string `json:"method"`
		Params    any    `json:"params,omitempty"`
	}{SessionID: session, Method: method, Params: params}
	reply := make(chan answer, 1)
	c.mu.Lock()
	c.last++
	message.ID = c.last
	c.waiting[message.ID] = reply
	c.mu.Unlock()
	line, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", method, err)
	}
	if _, err := c.to.Write(append(line, 0)); err != nil {
		return fmt.Errorf("sending %s: %w", method, err)
	}
	select {
	case got := <-reply:
		if got.Error != nil {
			return fmt.Errorf("%s: %s", method, got.Error.Message)
		}
		if out == nil {
			return nil
		}
		if err := json.Unmarshal(got.Result, out); err != nil {
			return fmt.Errorf("reading the answer of %s: %w", method, err)
		}
		return nil
	case <-c.ended:
		return fmt.Errorf("%s: the browser is gone", method)
	}
}

// Close ends the browser.
func (c *chromium) Close() error {
	_ = c.call("", "Browser.close", nil, nil) // It may be gone before it answers.
	_ = c.to.Close()
	_ = c.cmd.Wait() // How it ended does not matter any more.
	return nil
}
