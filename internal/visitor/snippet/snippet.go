// Package snippet is what a website puts into its pages: parley.js, the drivers
// that it fetches, the tag, and the Content Security Policy that lets them run.
// The files in dist are built from src by the program in build.
package snippet

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/internal/visitor/wire"
)

//go:embed dist
var dist embed.FS

// Manifest says what was built. It is dist/manifest.json.
type Manifest struct {
	Snippet File            `json:"snippet"`
	Drivers map[string]File `json:"drivers"`
}

// File is one built file. Its name holds the hash of its content, so a file
// never changes.
type File struct {
	Name string `json:"name"`
	// Integrity is for the attribute of that name.
	Integrity string `json:"integrity"`
	Bytes     int    `json:"bytes"`
	// Gzip is how many bytes travel.
	Gzip int `json:"gzip"`
	// Further says that the driver is a further one of a provider.
	Further bool `json:"further,omitempty"`
	// CSP is what the driver's widget needs of the page's policy, by directive.
	CSP map[string][]string `json:"csp,omitempty"`
}

// Load returns the manifest of the files in this binary.
func Load() (Manifest, error) {
	var m Manifest
	raw, err := dist.ReadFile("dist/manifest.json")
	if err != nil {
		return m, fmt.Errorf("reading the snippet's manifest: %w", err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("reading the snippet's manifest: %w", err)
	}
	return m, nil
}

// Content returns a built file by its name.
func Content(name string) ([]byte, bool) {
	if name != path.Base(name) || path.Ext(name) != ".js" {
		return nil, false
	}
	raw, err := dist.ReadFile("dist/" + name)
	return raw, err == nil
}

// latest is the name that always has this version's parley.js.
const latest = "parley.js"

// served is a file as it travels.
type served struct {
	plain, packed []byte
	keep          string // its Cache-Control
}

// Files serves the built files below [wire.FilesPath], those of earlier releases
// too. They may be kept for ever, and by every site: they hold nothing of one.
// Only parley.js without a hash changes, with the version.
func Files() http.Handler {
	files, err := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err != nil {
			http.Error(w, "the files of the snippet cannot be read", http.StatusInternalServerError)
			return
		}
		file, ok := files[strings.TrimPrefix(r.URL.Path, wire.FilesPath+"/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h, body := w.Header(), file.plain
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("Cache-Control", file.keep)
		h.Set("Vary", "Accept-Encoding")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		h.Set("Timing-Allow-Origin", "*")
		h.Set("X-Content-Type-Options", "nosniff")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
			body = file.packed
		}
		h.Set("Content-Length", strconv.Itoa(len(body)))
		if r.Method != http.MethodHead {
			_, _ = w.Write(body)
		}
	})
}

// load reads all built files, and packs them.
func load() (map[string]served, error) {
	m, err := Load()
	if err != nil {
		return nil, err
	}
	entries, err := dist.ReadDir("dist")
	if err != nil {
		return nil, fmt.Errorf("listing the snippet's files: %w", err)
	}
	files := map[string]served{}
	for _, entry := range entries {
		plain, ok := Content(entry.Name())
		if !ok {
			continue
		}
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err == nil {
			_, err = z.Write(plain)
			err = errors.Join(err, z.Close())
		}
		if err != nil {
			return nil, fmt.Errorf("packing %s: %w", entry.Name(), err)
		}
		files[entry.Name()] = served{plain, packed.Bytes(), "public, max-age=31536000, immutable"}
	}
	now := files[m.Snippet.Name]
	now.keep = "public, max-age=300"
	files[latest] = now
	return files, nil
}
