package shop

import (
	"embed"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/parley-chat/parley/internal/standin"
)

//go:embed pages
var pages embed.FS

// shopPages serves the shop: every page of pages/shop at its name without
// ".html", the webview pages at their whole name, and the assets.
func shopPages() http.Handler {
	mux := http.NewServeMux()
	servePages(mux, "pages/shop")
	serveFiles(mux, "pages/webview", "/webview/")
	serveAssets(mux)
	return mux
}

func docsPages() http.Handler {
	mux := http.NewServeMux()
	servePages(mux, "pages/docs")
	serveAssets(mux)
	return mux
}

// servePages serves the pages of the folder: index.html at "/", pricing.html at
// "/pricing".
func servePages(mux *http.ServeMux, folder string) {
	for name, body := range read(folder) {
		at := "/" + strings.TrimSuffix(name, ".html")
		if name == "index.html" {
			at = "/{$}"
		}
		mux.Handle("GET "+at, standin.NewBlob(kindOf(name), standin.Revalidate, body))
	}
}

func serveFiles(mux *http.ServeMux, folder, prefix string) {
	for name, body := range read(folder) {
		mux.Handle("GET "+prefix+name, standin.NewBlob(kindOf(name), standin.Revalidate, body))
	}
}

// read returns the files of the embedded folder by name.
func read(folder string) map[string][]byte {
	files := map[string][]byte{}
	entries, err := fs.ReadDir(pages, folder)
	if err != nil {
		return files // The folder is embedded, so it is there.
	}
	for _, entry := range entries {
		if body, err := fs.ReadFile(pages, path.Join(folder, entry.Name())); err == nil {
			files[entry.Name()] = body
		}
	}
	return files
}

func kindOf(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	default:
		return "application/octet-stream"
	}
}
