package main

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"
)

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close() //nolint:errcheck // A test.
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return listener.Addr().String()
}

// talk is a connection through a proxy.
type talk struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, address string) *talk {
	t.Helper()
	conn, err := net.Dial("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &talk{t, conn, bufio.NewReader(conn)}
}

// say sends a line, and hear waits for one.
func (k *talk) say(line string) error {
	_, err := io.WriteString(k.conn, line+"\n")
	return err
}

func (k *talk) hear(within time.Duration) (string, error) {
	if err := k.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		k.t.Fatal(err)
	}
	line, err := k.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	return line[:len(line)-1], nil
}

func proxied(t *testing.T) *proxy {
	t.Helper()
	p, err := startProxy(t.Context(), []string{echo(t), echo(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

func TestAProxyCarriesAndFallsSilent(t *testing.T) {
	t.Parallel()
	p := proxied(t)
	for _, address := range p.addresses {
		k := dial(t, address)
		if err := k.say("one"); err != nil {
			t.Fatal(err)
		}
		if got, err := k.hear(10 * time.Second); got != "one" {
			t.Fatalf("heard %q, %v", got, err)
		}
	}
	k := dial(t, p.addresses[0])
	p.set(silent)
	if err := k.say("two"); err != nil {
		t.Fatal(err)
	}
	if got, err := k.hear(100 * time.Millisecond); err == nil {
		t.Fatalf("heard %q through a silent line", got)
	}
	p.set(whole)
	if got, err := k.hear(10 * time.Second); got != "two" {
		t.Fatalf("heard %q, %v when the line spoke again", got, err)
	}
}

func TestABrokenLineResetsOldAndNew(t *testing.T) {
	t.Parallel()
	p := proxied(t)
	old := dial(t, p.addresses[0])
	if err := old.say("one"); err != nil {
		t.Fatal(err)
	}
	if got, err := old.hear(10 * time.Second); got != "one" {
		t.Fatalf("heard %q, %v", got, err)
	}
	p.set(broken)
	if got, err := old.hear(10 * time.Second); err == nil {
		t.Errorf("the old connection heard %q", got)
	}
	fresh := dial(t, p.addresses[1])
	if got, err := fresh.hear(10 * time.Second); err == nil {
		t.Errorf("a new connection heard %q", got)
	}
	p.set(whole)
	again := dial(t, p.addresses[0])
	if err := again.say("two"); err != nil {
		t.Fatal(err)
	}
	if got, err := again.hear(10 * time.Second); got != "two" {
		t.Errorf("heard %q, %v when the line was whole again", got, err)
	}
}

// TestASilentProxyEnds: who waits for the line must not hold up the end.
func TestASilentProxyEnds(t *testing.T) {
	t.Parallel()
	p := proxied(t)
	k := dial(t, p.addresses[0])
	p.set(silent)
	if err := k.say("one"); err != nil {
		t.Fatal(err)
	}
	p.close()
	if got, err := k.hear(10 * time.Second); err == nil {
		t.Errorf("heard %q", got)
	}
}
