package shop

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"text/template"

	"github.com/parley-chat/parley/internal/standin"
)

//go:embed pages
var files embed.FS

// A site is one of the website's host names, with the folder of its pages.
type site struct {
	Host, AppID, folder string
	Links               []link
}

type link struct{ Path, Text string }

func shopSite() site {
	return site{Host, AppID, "pages/shop", []link{
		{"/", "Home"}, {"/product", "Product"}, {"/pricing", "Pricing"}, {"https://" + DocsHost + "/", "Docs"},
	}}
}

func docsSite() site {
	return site{DocsHost, DocsAppID, "pages/docs", []link{
		{"/", "Start"}, {"/guide", "Guide"}, {Origin + "/", "Shop"},
	}}
}

// A view is what a page is made of. The words of the product page are in
// words.go.
type view struct {
	site
	words
	Path string
}

// pages serves the site's pages, index.html at "/" and pricing.html at
// "/pricing", and the assets.
func (s site) pages() (*http.ServeMux, error) {
	mux := http.NewServeMux()
	layout, err := template.ParseFS(files, "pages/layout.html")
	if err != nil {
		return nil, fmt.Errorf("reading the layout: %w", err)
	}
	for name, body := range read(s.folder) {
		at := "/" + strings.TrimSuffix(name, ".html")
		pattern := "GET " + at
		if name == "index.html" {
			at, pattern = "/", "GET /{$}"
		}
		page, err := template.Must(layout.Clone()).Parse(string(body))
		if err != nil {
			return nil, fmt.Errorf("reading the page %s: %w", name, err)
		}
		var out bytes.Buffer
		if err := page.Execute(&out, view{s, newWords(), at}); err != nil {
			return nil, fmt.Errorf("making the page %s: %w", name, err)
		}
		mux.Handle(pattern, standin.NewBlob(kindOf(name), standin.Revalidate, out.Bytes()))
	}
	serveAssets(mux)
	return mux, nil
}

// serve serves the files of the folder as they are.
func serve(mux *http.ServeMux, folder, prefix, cache string) {
	for name, body := range read(folder) {
		mux.Handle("GET "+prefix+name, standin.NewBlob(kindOf(name), cache, body))
	}
}

// read returns the files of the embedded folder by name.
func read(folder string) map[string][]byte {
	found := map[string][]byte{}
	entries, err := fs.ReadDir(files, folder)
	if err != nil {
		return found // The folder is embedded, so it is there.
	}
	for _, entry := range entries {
		if body, err := fs.ReadFile(files, path.Join(folder, entry.Name())); err == nil {
			found[entry.Name()] = body
		}
	}
	return found
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
	case ".ttf":
		return "font/ttf"
	case ".jpg":
		return "image/jpeg"
	default:
		return "application/octet-stream"
	}
}
