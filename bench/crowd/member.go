package crowd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"time"
)

// lanes is how many connections begin at once.
const lanes = 16

// member is one visitor. One goroutine reads it; only one asks at a time.
type member struct {
	conn    net.Conn
	in      *bufio.Reader
	answers chan time.Time
}

// Run is the crowd's side: it connects, and asks what it is told to.
func Run(text string, in io.Reader, out io.Writer) error {
	var t Talk
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return fmt.Errorf("reading what a crowd says: %w", err)
	}
	answers := json.NewEncoder(out)
	all, err := t.connect()
	if err != nil {
		return errors.Join(answers.Encode(heard{Error: err.Error()}), err)
	}
	for _, m := range all {
		go m.listen(t.Answer)
	}
	if err := answers.Encode(heard{}); err != nil {
		return fmt.Errorf("telling that all are here: %w", err)
	}
	for orders := json.NewDecoder(in); ; {
		var o order
		if err := orders.Decode(&o); err != nil {
			return nil //nolint:nilerr // There is no more to do.
		}
		if err := answers.Encode(t.echo(all, o)); err != nil {
			return fmt.Errorf("telling what was heard: %w", err)
		}
	}
}

// connect opens all connections.
func (t Talk) connect() ([]*member, error) {
	all, failed := make([]*member, t.Visitors), make([]error, lanes)
	var each sync.WaitGroup
	for lane := range lanes {
		each.Go(func() {
			for i := lane; i < len(all) && failed[lane] == nil; i += lanes {
				all[i], failed[lane] = t.join(i)
			}
		})
	}
	each.Wait()
	return all, errors.Join(failed...)
}

// join opens one connection, and waits for the welcome.
func (t Talk) join(n int) (*member, error) {
	dialer := net.Dialer{Timeout: patience}
	conn, err := dialer.DialContext(context.Background(), "tcp", t.Address)
	if err != nil {
		return nil, fmt.Errorf("connecting visitor %d: %w", n, err)
	}
	m := &member{conn: conn, in: bufio.NewReaderSize(conn, 1024), answers: make(chan time.Time, 1)}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, fmt.Errorf("connecting visitor %d: %w", n, err)
	}
	if err := errors.Join(t.upgrade(m), m.say(strings.ReplaceAll(t.Hello, "%d", fmt.Sprintf("%06d", n)))); err != nil {
		return nil, fmt.Errorf("greeting as visitor %d: %w", n, err)
	}
	if err := m.until(t.Welcome); err != nil {
		return nil, fmt.Errorf("waiting for the welcome of visitor %d: %w", n, err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("connecting visitor %d: %w", n, err)
	}
	return m, nil
}

// upgrade is the handshake.
func (t Talk) upgrade(m *member) error {
	_, err := io.WriteString(m.conn, "GET "+t.Path+" HTTP/1.1\r\nHost: "+t.Address+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: "+t.Origin+
		"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	if err != nil {
		return fmt.Errorf("asking for the upgrade: %w", err)
	}
	head := textproto.NewReader(m.in)
	if line, err := head.ReadLine(); err != nil || !strings.Contains(line, " 101 ") {
		return fmt.Errorf("the upgrade was answered %q: %w", line, err)
	}
	if _, err := head.ReadMIMEHeader(); err != nil {
		return fmt.Errorf("reading the answer to the upgrade: %w", err)
	}
	return nil
}

// say sends a text frame, masked with zeros.
func (m *member) say(text string) error {
	frame := []byte{0x81, 0x80 | byte(min(len(text), 126))}
	if len(text) >= 126 {
		frame = binary.BigEndian.AppendUint16(frame, uint16(len(text))) //nolint:gosec // What a crowd says is short.
	}
	frame = append(append(frame, 0, 0, 0, 0), text...)
	if _, err := m.conn.Write(frame); err != nil {
		return fmt.Errorf("sending a frame: %w", err)
	}
	return nil
}

// next returns the payload of the next frame.
func (m *member) next() ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(m.in, head[:]); err != nil {
		return nil, fmt.Errorf("reading a frame: %w", err)
	}
	size := int(head[1] & 0x7f)
	if size == 126 {
		if _, err := io.ReadFull(m.in, head[:]); err != nil {
			return nil, fmt.Errorf("reading a frame: %w", err)
		}
		size = int(binary.BigEndian.Uint16(head[:]))
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(m.in, body); err != nil {
		return nil, fmt.Errorf("reading a frame: %w", err)
	}
	return body, nil
}

// until reads frames until one has the part.
func (m *member) until(part string) error {
	for {
		switch body, err := m.next(); {
		case err != nil:
			return err
		case bytes.Contains(body, []byte(part)):
			return nil
		case string(body) == "{}": // The peer's ping wants to be answered.
			if err := m.say("{}"); err != nil {
				return err
			}
		}
	}
}

// listen notes when answers come, until the connection ends.
func (m *member) listen(answer string) {
	defer close(m.answers)
	for m.until(answer) == nil {
		m.answers <- time.Now()
	}
}

// echo sends messages at the rate, each on the next connection.
func (t Talk) echo(all []*member, o order) heard {
	latencies, failed := make([]float64, o.Messages), make([]error, o.Messages)
	var each sync.WaitGroup
	begun := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := 0; i < o.Messages; <-tick.C {
		due := min(o.Messages, int(time.Since(begun).Seconds()*float64(o.PerSecond))+1)
		for ; i < due; i++ {
			at, m := i, all[i%len(all)]
			each.Go(func() { latencies[at], failed[at] = m.ask(t.Ask) })
		}
	}
	each.Wait()
	if err := errors.Join(failed...); err != nil {
		return heard{Error: err.Error()}
	}
	return heard{LatenciesUS: latencies}
}

// ask sends the frame, and returns how many microseconds the answer took.
func (m *member) ask(frame string) (float64, error) {
	start := time.Now()
	if err := m.say(frame); err != nil {
		return 0, err
	}
	at, ok := <-m.answers
	if !ok {
		return 0, errors.New("the connection has ended before the answer")
	}
	return float64(at.Sub(start).Nanoseconds()) / 1000, nil
}
