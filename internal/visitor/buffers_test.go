package visitor

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a page has sent before its connection was taken over is not lost, however
// much it is.
func TestEarlyBytesAreKept(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, readBuffer - 1, readBuffer, readBuffer + 1, 4096} {
		sent := strings.Repeat("x", n)
		large := bufio.NewReaderSize(strings.NewReader(sent), 4096)
		if _, err := large.Peek(n); err != nil {
			t.Fatal(err)
		}
		in := early(large)
		kept, err := in.Peek(in.Buffered())
		if err != nil || string(kept) != sent {
			t.Errorf("of %d bytes %d are kept: %v", n, len(kept), err)
		}
		if want := max(n, readBuffer); in.Size() != want {
			t.Errorf("with %d bytes sent the buffer has %d, want %d", n, in.Size(), want)
		}
	}
}

// pipe is a socket and its other end.
func pipe(t *testing.T, seen *counters) (*socket, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	s := &socket{Conn: near, seen: seen}
	s.left.Store(math.MaxInt64)
	return s, far
}

// A message may come in mostRaw bytes and no more, whatever it is packed in; and
// what comes before and after it is not counted against it.
func TestMessageIsBounded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		bytes int64
		want  error
	}{
		{"nothing", 0, nil}, {"a little", 100, nil}, {"the most", mostRaw, nil}, {"one more", mostRaw + 1, errFragments}, {"a flood", 20 * mostRaw, errFragments},
	} {
		var seen counters
		s, far := pipe(t, &seen)
		go func() {
			_, _ = far.Write(bytes.Repeat([]byte("x"), int(test.bytes))) // It ends early when nobody reads on.
			_ = far.Close()
		}()
		var into bytes.Buffer
		if err := s.whole(&into, s); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if s.left.Load() != math.MaxInt64 {
			t.Errorf("%s: %d bytes may come after it", test.name, s.left.Load())
		}
		if got := seen.in.Load(); got != int64(into.Len()) || got > mostRaw+int64(into.Cap()) {
			t.Errorf("%s: %d bytes counted, %d read", test.name, got, into.Len())
		}
	}
}

func TestBytesAreCounted(t *testing.T) {
	t.Parallel()
	var seen counters
	s, far := pipe(t, &seen)
	go func() {
		_, _ = io.Copy(far, io.LimitReader(far, 7)) // It echoes.
	}()
	if _, err := s.Write([]byte("seven!!")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	if seen.in.Load() != 7 || seen.out.Load() != 7 {
		t.Errorf("%d bytes in, %d out", seen.in.Load(), seen.out.Load())
	}
}

// A buffer for messages comes back empty, and a large one not at all.
func TestBuffersAreEmpty(t *testing.T) {
	t.Parallel()
	var p pool
	for _, n := range []int{1, roomy, 4 * roomy} {
		b := p.take()
		if b.Len() != 0 || b.Cap() > roomy {
			t.Fatalf("a buffer with %d of %d bytes", b.Len(), b.Cap())
		}
		b.Grow(n)
		b.WriteString(strings.Repeat("x", n))
		p.give(b)
	}
	if b := p.take(); b.Len() != 0 || b.Cap() > roomy {
		t.Errorf("a buffer with %d of %d bytes", b.Len(), b.Cap())
	}
}

// Each refusal and each code has its own counter, and a name.
func TestEveryRefusalIsCounted(t *testing.T) {
	t.Parallel()
	g := &Gateway{hub: newHub(Limits{}.withDefaults())}
	want := map[string]int64{}
	for why, name := range Refusals() {
		if name == "" {
			t.Fatalf("the refusal %d has no name", why)
		}
		for range why + 1 {
			g.seen.refuse(refusal(why))
		}
		want[name] = int64(why + 1)
	}
	ends := map[int]int64{}
	for i, code := range EndCodes() {
		for range i + 1 {
			g.seen.end(code)
		}
		ends[code] += int64(i + 1)
	}
	g.seen.end(1006) // It is none of ours.
	ends[0]++
	s := g.Stats()
	if diff := cmp.Diff(want, s.Refusals); diff != "" {
		t.Errorf("refusals (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(ends, s.Ends); diff != "" {
		t.Errorf("ends (-want +got):\n%s", diff)
	}
	all := int64(allRefusals) * (int64(allRefusals) + 1) / 2
	if s.Refused != all || s.Origins != want["origin"] || s.Flooded != want["rate"] || s.Replayed != want["replay"] {
		t.Errorf("%+v", s)
	}
}
