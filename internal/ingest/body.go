package ingest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// firstRoom is what a body gets before its size is known. A slow sender
	// holds as little as it has sent.
	firstRoom = 4 << 10
	// maxWindow is what a zstd stream may ask a reader to remember.
	maxWindow = 8 << 20
)

// mediaOf checks the media type of a request against its route, and returns it
// without parameters.
func mediaOf(route Route, h http.Header) (string, *fault.Error) {
	if len(route.Types) == 0 {
		return "", nil
	}
	values := h.Values("Content-Type")
	wrong := fault.New(fault.MediaType, "the Content-Type is not %s", strings.Join(route.Types, " or "))
	if len(values) == 0 && route.Lenient {
		return route.Types[0], nil
	}
	if len(values) != 1 {
		return "", wrong
	}
	media, params, err := mime.ParseMediaType(values[0])
	if err != nil {
		return "", wrong
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return "", fault.New(fault.MediaType, "the body is not in UTF-8, says its Content-Type").WithFix("encode the body in UTF-8")
	}
	switch {
	case slices.Contains(route.Types, media):
		return media, nil
	case route.Lenient && media == "text/plain":
		return route.Types[0], nil
	}
	return "", wrong
}

// readBody reads and unpacks the body of a request, up to the limit. It tells
// grow how many more bytes it holds, before it does; when grow refuses, so does
// it. What it asked for it never gives back: the caller does.
func readBody(r *http.Request, limit int64, grow func(n int64) bool) ([]byte, *fault.Error) {
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding")))
	if !slices.Contains([]string{"", "identity", "gzip", "x-gzip", "zstd"}, encoding) || len(r.Header.Values("Content-Encoding")) > 1 {
		return nil, fault.New(fault.MediaType, "the Content-Encoding is not known").WithFix("send the body plain, or with gzip or zstd")
	}
	wire, err := readUpTo(r.Body, r.ContentLength, limit, grow)
	if err != nil {
		return nil, err
	}
	switch encoding {
	case "gzip", "x-gzip":
		return gunzip(wire, limit, grow)
	case "zstd":
		return unzstd(wire, limit, grow)
	}
	return wire, nil
}

func tooLarge(limit int64) *fault.Error {
	return fault.New(fault.TooLarge, "the body has more than %d bytes", limit).WithFix("send fewer events in one request")
}

// readUpTo reads all, but not more than the limit. size is how much there is, as
// far as it is known; the room grows with what comes, not with what is announced.
func readUpTo(from io.Reader, size, limit int64, grow func(int64) bool) ([]byte, *fault.Error) {
	full := fault.New(fault.Overloaded, "the bodies under way need more memory than there is")
	room := int64(firstRoom)
	if size >= 0 {
		room = min(room, size+1)
	}
	if !grow(room) {
		return nil, full
	}
	body := make([]byte, 0, room)
	for {
		n, err := from.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > limit:
			return nil, tooLarge(limit)
		case errors.Is(err, io.EOF):
			return body, nil
		case err != nil:
			return nil, fault.New(fault.Malformed, "the body ends too early").Because(err).WithFix("send the whole body, within 20 seconds")
		}
		if len(body) < cap(body) {
			continue
		}
		next := min(2*int64(cap(body)), limit+1)
		if !grow(next - int64(cap(body))) {
			return nil, full
		}
		body = append(make([]byte, 0, next), body...)
	}
}

func packedBadly(err error) *fault.Error {
	return fault.New(fault.Malformed, "the body cannot be unpacked").Because(err).WithFix("send it as its Content-Encoding says")
}

func gunzip(wire []byte, limit int64, grow func(int64) bool) ([]byte, *fault.Error) {
	in, err := gzip.NewReader(bytes.NewReader(wire))
	if err != nil {
		return nil, packedBadly(err)
	}
	return unpacked(readUpTo(in, -1, limit, grow))
}

// unzstd unpacks with a reader that others use after it.
func unzstd(wire []byte, limit int64, grow func(int64) bool) ([]byte, *fault.Error) {
	reader, err := zstd.NewReader(bytes.NewReader(wire),
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, packedBadly(err)
	}
	defer reader.Close()
	return unpacked(readUpTo(reader, -1, limit, grow))
}

// unpacked says of a stream that breaks off that it cannot be unpacked.
func unpacked(body []byte, err *fault.Error) ([]byte, *fault.Error) {
	if err != nil && err.Reason == fault.Malformed {
		return nil, packedBadly(err.Err)
	}
	return body, err
}

// share is something that sources have in common, such as memory: a part of it
// is each source's own, and the rest is for whoever comes. So a source that
// floods the edge never takes the last of another.
type share struct {
	mu     sync.Mutex
	own    int64            // what each source has for itself
	common int64            // what is free for everybody
	used   map[string]int64 // by source
}

// newShare divides the amount: half is common.
func newShare(amount int64, sources int) *share {
	own := amount / 2 / int64(max(sources, 1))
	return &share{own: own, common: amount - own*int64(max(sources, 1)), used: map[string]int64{}}
}

// take takes n, or nothing.
func (s *share) take(source string, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := max(s.used[source]-s.own, 0)
	after := max(s.used[source]+n-s.own, 0)
	if after-before > s.common {
		return false
	}
	s.common -= after - before
	s.used[source] += n
	return true
}

// give gives back what was taken.
func (s *share) give(source string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := max(s.used[source]-s.own, 0)
	s.used[source] -= n
	s.common += before - max(s.used[source]-s.own, 0)
}
