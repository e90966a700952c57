package shop

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/parley-chat/parley/internal/standin"
)

// serveAssets serves what the pages of both sites share: styles, pictures, and
// the icon font. Photos and font are made at start, so that a page has the
// weight of a real one while the repository has not.
func serveAssets(mux *http.ServeMux) {
	serve(mux, "pages/assets", "/assets/", standin.Forever)
	mux.Handle("GET /favicon.ico", standin.NewBlob("image/svg+xml", standin.Forever, read("pages/assets")["logo.svg"]))
	mux.Handle("GET /assets/utilities.css", standin.NewBlob(kindOf(".css"), standin.Forever, utilities()))
	mux.Handle("GET /assets/icons.ttf", standin.NewBlob(kindOf(".ttf"), standin.Forever, icons()))
	for seed := uint64(1); seed <= 3; seed++ {
		mux.Handle(fmt.Sprintf("GET /assets/photo-%d.jpg", seed), lazily(func() *standin.Blob {
			return standin.NewBlob(kindOf(".jpg"), standin.Forever, photo(seed))
		}))
	}
}

// utilities returns a style sheet of small classes, as frameworks ship it.
func utilities() []byte {
	var out strings.Builder
	for _, property := range []struct{ short, long string }{
		{"m", "margin"},
		{"mt", "margin-top"},
		{"mr", "margin-right"},
		{"mb", "margin-bottom"},
		{"ml", "margin-left"},
		{"p", "padding"},
		{"pt", "padding-top"},
		{"pr", "padding-right"},
		{"pb", "padding-bottom"},
		{"pl", "padding-left"},
		{"gap", "gap"},
		{"w", "width"},
		{"h", "height"},
		{"top", "top"},
		{"left", "left"},
		{"radius", "border-radius"},
	} {
		for step := range 17 {
			fmt.Fprintf(&out, ".%s-%d { %s: %dpx; }\n", property.short, step, property.long, 4*step)
		}
	}
	return []byte(out.String())
}

// analytics serves the script of a third party, which counts visitors.
func analytics() http.Handler {
	mux := http.NewServeMux()
	serve(mux, "pages/analytics", "/", standin.Revalidate)
	mux.HandleFunc("POST /collect", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}
