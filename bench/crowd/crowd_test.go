package crowd

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// serve answers every frame by what say returns, after a handshake. It takes the
// short frames of a crowd alone.
func serve(t *testing.T, say func(string) []string) string {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go converse(c, say)
		}
	}()
	return l.Addr().String()
}

func converse(c net.Conn, say func(string) []string) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = in.ReadString('\n'); err != nil {
			return
		}
	}
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
	for {
		head := make([]byte, 6)
		if _, err := io.ReadFull(in, head); err != nil {
			return
		}
		body := make([]byte, head[1]&0x7f)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		for _, text := range say(string(body)) {
			_, _ = c.Write(append([]byte{0x81, byte(len(text))}, text...))
		}
	}
}

func TestACrowdIsGreetedAndAnswered(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 100)
	address := serve(t, func(text string) []string {
		seen <- text
		return map[string][]string{"hello 000000": {"{}", "welcome"}, "hello 000001": {"welcome"}, "ask": {"other", "echo"}}[text]
	})
	order, answers := strings.NewReader(`{"Messages":6,"PerSecond":1000}`), strings.Builder{}
	text, err := json.Marshal(Talk{Address: address, Path: "/", Hello: "hello %d", Welcome: "welcome", Ask: "ask", Answer: "echo", Visitors: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(string(text), order, &answers); err != nil {
		t.Fatal(err)
	}
	var first, second heard
	from := json.NewDecoder(strings.NewReader(answers.String()))
	if err := from.Decode(&first); err != nil {
		t.Fatal(err)
	}
	if err := from.Decode(&second); err != nil {
		t.Fatal(err)
	}
	if first.Error+second.Error != "" || len(second.LatenciesUS) != 6 {
		t.Errorf("got %+v and %+v, want six latencies", first, second)
	}
	close(seen)
	counts := map[string]int{}
	for one := range seen {
		counts[one]++
	}
	want := map[string]int{"hello 000000": 1, "hello 000001": 1, "{}": 1, "ask": 6}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("what the server heard (-want +got):\n%s", diff)
	}
}

func TestACrowdThatIsNotLetInSaysSo(t *testing.T) {
	t.Parallel()
	if err := Run(`{"Address":"127.0.0.1:1","Visitors":1}`, strings.NewReader(""), io.Discard); err == nil {
		t.Error("a crowd without a server is content")
	}
}
