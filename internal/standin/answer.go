package standin

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
)

// How long a browser may keep an answer.
const (
	// Revalidate lets a browser keep it, and ask each time whether it changed.
	Revalidate = "no-cache"
	// Forever is for names that hold a hash of the content.
	Forever = "public, max-age=31536000, immutable"
	// Never keeps it out of every cache.
	Never = "no-store"
)

// A Blob is a fixed answer with its type and its rule for caches.
type Blob struct {
	kind, cache, tag string
	body             []byte
}

// NewBlob returns an answer with the body, which the caller no longer changes.
func NewBlob(kind, cache string, body []byte) *Blob {
	sum := sha256.Sum256(body)
	return &Blob{kind: kind, cache: cache, tag: `"` + base64.RawURLEncoding.EncodeToString(sum[:9]) + `"`, body: body}
}

// Size returns the length of the body in bytes.
func (b *Blob) Size() int { return len(b.body) }

// ServeHTTP writes the answer, or 304 to a browser that has it.
func (b *Blob) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", b.kind)
	h.Set("Cache-Control", b.cache)
	h.Set("X-Content-Type-Options", "nosniff")
	if b.cache != Never {
		h.Set("ETag", b.tag)
		if strings.Contains(r.Header.Get("If-None-Match"), b.tag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(b.body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(b.body)
	}
}
