package ingest_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// sized returns an event of so many bytes.
func sized(n int) string {
	const head, tail = `{"event":"E","user_id":"u","site":"shop"`, `}`
	if n < len(head+tail) {
		return strings.Repeat(" ", n)
	}
	return head + strings.Repeat(" ", n-len(head+tail)) + tail
}

// endless is a body that never ends. It counts what is read of it.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.read.Add(int64(len(p)))
	return len(p), nil
}

// resident returns the memory of the process that is in use.
func resident(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("there is no /proc here")
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// TestSizes is I6: bodies around the limit, and one that never ends.
func TestSizes(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	times := bustest.Count(20, 50)
	r := newRig(t, bustest.Start(t), func(o *ingest.Options) { o.MaxBody = limit }, mountPlain(t, "web"))
	for size, want := range map[int]int{0: 400, 1: 400, limit - 1: 202, limit: 202, limit + 1: 413, 2 * limit: 413} {
		for i := range times {
			body := io.Reader(strings.NewReader(sized(size)))
			if i%2 == 0 {
				body = io.MultiReader(body) // Its size is not announced.
			}
			if a := r.do(http.MethodPost, "/in/web", body, nil); a.status != want {
				t.Fatalf("a body of %d bytes is answered %d %s, want %d", size, a.status, a.body, want)
			}
		}
	}
	for range times {
		stream := &endless{}
		a, err := r.try(http.MethodPost, "/in/web", stream, nil)
		if err == nil && a.status != http.StatusRequestEntityTooLarge {
			t.Fatalf("a body without an end is answered %d %s", a.status, a.body)
		}
		// What is read beyond the limit is what both kernels hold between us.
		if n := stream.read.Load(); n > 16<<20 {
			t.Fatalf("%d bytes of a body without an end were read", n)
		}
	}
	if n := len(r.triggers()); n != 2*times {
		t.Errorf("%d events are stored, want %d", n, 2*times)
	}
}

func zipped(t *testing.T, encoding string, plain io.Reader) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&out)
	if encoding == "zstd" {
		var err error
		if w, err = zstd.NewWriter(&out); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.Copy(w, plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestPackedBodies is I7: what is packed is unpacked up to the limit, and a bomb
// costs no memory. It is not parallel, because it measures the process.
func TestPackedBodies(t *testing.T) { //nolint:paralleltest // as said.
	const limit = 64 << 10
	b := bustest.Start(t)
	r := newRig(t, b, func(o *ingest.Options) { o.MaxBody = limit }, mountPlain(t, "web"))
	for _, encoding := range []string{"gzip", "zstd"} {
		headers := map[string]string{"Content-Encoding": encoding}
		send := func(body []byte) answer {
			return r.do(http.MethodPost, "/in/web", bytes.NewReader(body), headers)
		}
		if a := send(zipped(t, encoding, strings.NewReader(sized(limit)))); a.status != http.StatusAccepted {
			t.Errorf("%s up to the limit is answered %d %s", encoding, a.status, a.body)
		}
		if a := send(zipped(t, encoding, strings.NewReader(sized(limit+1)))); a.status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s beyond the limit is answered %d %s", encoding, a.status, a.body)
		}
		good := zipped(t, encoding, strings.NewReader(sized(1000)))
		for _, broken := range [][]byte{good[:len(good)-1], good[:8], []byte("{}"), {}} {
			if a := send(broken); a.status != http.StatusBadRequest {
				t.Errorf("broken %s is answered %d %s", encoding, a.status, a.body)
			}
		}
		bomb := zipped(t, encoding, io.LimitReader(&endless{}, 64<<20))
		if len(bomb) > limit {
			t.Fatalf("the bomb has %d bytes", len(bomb))
		}
		grown := int64(1 << 40)
		for round := 0; round < 3 && grown > 5<<20; round++ { // What the first ones need stays in the pools.
			before := resident(t)
			for range 50 {
				if a := send(bomb); a.status != http.StatusRequestEntityTooLarge {
					t.Fatalf("a %s bomb of %d bytes is answered %d %s", encoding, len(bomb), a.status, a.body)
				}
			}
			grown = resident(t) - before
		}
		if grown > 5<<20 {
			t.Errorf("50 %s bombs made the process grow by %d bytes, again and again", encoding, grown)
		}
	}
	if a := r.do(http.MethodPost, "/in/web", strings.NewReader("x"), map[string]string{"Content-Encoding": "br"}); a.status != http.StatusUnsupportedMediaType {
		t.Errorf("another encoding is answered %d %s", a.status, a.body)
	}
}

// TestMemoryIsBounded: bodies under way get the memory that there is, and no
// more; each source has some of its own.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, bustest.Start(t), func(o *ingest.Options) { o.MaxBody, o.Memory = 1<<20, 64<<10 }, mountPlain(t, "web"), mountPlain(t, "crm"))
	a := r.do(http.MethodPost, "/in/web", strings.NewReader(sized(200<<10)), nil)
	if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
		t.Errorf("a body beyond the memory is answered %d %s", a.status, a.body)
	}
	for range 50 { // Everything was given back.
		if a := r.do(http.MethodPost, "/in/web", strings.NewReader(sized(20<<10)), nil); a.status != http.StatusAccepted {
			t.Fatalf("the next body is answered %d %s", a.status, a.body)
		}
	}
}

// TestContentTypes is I11: a body is what its Content-Type says, or refused.
func TestContentTypes(t *testing.T) {
	t.Parallel()
	r := newRig(t, bustest.Start(t), nil, mountPlain(t, "web"))
	good := []string{"application/json", "Application/JSON", "application/json; charset=utf-8", `application/json;charset="UTF-8"`}
	bad := []string{
		"", "text/plain", "text/html", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
		"application/jsonp", "application/json; charset=utf-16", "application/json, text/plain", "json", "*/*", "application/cloudevents+json",
	}
	body := func(i int) string { return fmt.Sprintf(`{"id":"m-%d","event":"E","user_id":"u","site":"shop"}`, i) }
	for i, media := range good {
		if a := r.do(http.MethodPost, "/in/web", strings.NewReader(body(i)), map[string]string{"Content-Type": media}); a.status != http.StatusAccepted {
			t.Errorf("%q is answered %d %s", media, a.status, a.body)
		}
	}
	for _, media := range bad {
		for i := range 30 {
			if a := r.do(http.MethodPost, "/in/web", strings.NewReader(body(100+i)), map[string]string{"Content-Type": media}); a.status != http.StatusUnsupportedMediaType {
				t.Errorf("%q is answered %d %s", media, a.status, a.body)
			}
		}
	}
	if n := len(r.triggers()); n != len(good) {
		t.Errorf("%d events are stored, want %d", n, len(good))
	}
	if n := r.ledger.refused(fault.MediaType); n != 30*len(bad) {
		t.Errorf("%d refusals are counted, want %d", n, 30*len(bad))
	}
}

// TestTextIsKept is I8: a text is stored as it came, or refused with the whole
// event.
func TestTextIsKept(t *testing.T) {
	t.Parallel()
	r := newRig(t, bustest.Start(t), nil, mountPlain(t, "web"))
	kept := map[string]string{ // By what stands between the quotes.
		`plain`:                     "plain",
		`Zürich €😀`:                 "Zürich €😀",
		`\ud83d\ude00`:              "😀",
		`nul\u0000nul`:              "nul\x00nul",
		"line\u2028para\u2029":      "line\u2028para\u2029",
		"mark\ufeffmark":            "mark\ufeffmark",
		`<script>&amp;</script>`:    "<script>&amp;</script>",
		`\"\\\/\b\f\n\r\t`:          "\"\\/\b\f\n\r\t",
		"e\u0301":                   "e\u0301",
		"\u00e9":                    "\u00e9",
		"\u202eright to left\u202c": "\u202eright to left\u202c",
		"\ufffd":                    "\ufffd",
		"\x7f":                      "\x7f",
		"\U0010ffff":                "\U0010ffff",
	}
	refused := []string{
		"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", `\ud800`, `\udc00`, `\ud800\u0041`, "\x00", "\n", "\t", `\x41`, `\u12`, `"`, `\`,
	}
	want, number := map[string]string{}, 0
	for text, value := range kept {
		number++
		id := fmt.Sprintf("m-%d", number)
		want[id] = value
		a := r.post("web", `{"id":"`+id+`","event":"E","user_id":"u","site":"shop","properties":{"text":"`+text+`"}}`)
		if a.status != http.StatusAccepted {
			t.Errorf("%q is answered %d %s", text, a.status, a.body)
		}
	}
	for _, text := range refused {
		body := `{"event":"E","user_id":"u","site":"shop","properties":{"text":"` + text + `"}}`
		if a := r.post("web", body); a.status != http.StatusBadRequest {
			t.Errorf("%q is answered %d %s", text, a.status, a.body)
		}
	}
	for _, body := range []string{"\xef\xbb\xbf" + sized(100), sized(100) + "\x00", sized(100) + sized(100), "[" + sized(100)} {
		if a := r.post("web", body); a.status != http.StatusBadRequest {
			t.Errorf("%q is answered %d %s", body, a.status, a.body)
		}
	}
	got := map[string]string{}
	for _, one := range r.triggers() {
		got[one.ID], _ = one.Properties["text"].(string)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the stored texts differ (-want +got):\n%s", diff)
	}
	list := rejectedOf(t, r.bus)[event.DeadSubject(fault.Malformed, "", "")]
	if len(list) != len(refused)+4 {
		t.Errorf("%d of %d refused bodies are kept", len(list), len(refused)+4)
	}
}
