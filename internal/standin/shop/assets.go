package shop

import (
	"net/http"

	"github.com/parley-chat/parley/internal/standin"
)

// serveAssets serves what the pages of both sites share.
func serveAssets(mux *http.ServeMux) {
	for name, body := range read("pages/assets") {
		mux.Handle("GET /assets/"+name, standin.NewBlob(kindOf(name), standin.Forever, body))
	}
	mux.Handle("GET /favicon.ico", standin.NewBlob("image/svg+xml", standin.Forever, read("pages/assets")["logo.svg"]))
}

// analytics serves the script of a third party, which counts visitors.
func analytics() http.Handler {
	mux := http.NewServeMux()
	for name, body := range read("pages/analytics") {
		mux.Handle("GET /"+name, standin.NewBlob(kindOf(name), standin.Revalidate, body))
	}
	mux.HandleFunc("POST /collect", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}
