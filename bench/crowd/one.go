package crowd

import "fmt"

// One is a single visitor, in the process that asks for it.
type One struct {
	m   *member
	ask string
}

// Join connects one visitor, and waits for the welcome.
func Join(t Talk) (*One, error) {
	m, err := t.join(0)
	if err != nil {
		return nil, err
	}
	go m.listen(t.Answer)
	return &One{m, t.Ask}, nil
}

// Echo sends the message, and returns how many microseconds the answer took.
func (o *One) Echo() (float64, error) { return o.m.ask(o.ask) }

// Close ends the connection.
func (o *One) Close() error {
	if err := o.m.conn.Close(); err != nil {
		return fmt.Errorf("closing the connection: %w", err)
	}
	return nil
}
