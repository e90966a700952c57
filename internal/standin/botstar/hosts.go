package botstar

import (
	_ "embed" // The icons.
	"encoding/base64"
	"net/http"
	"regexp"

	"github.com/parley-chat/parley/internal/standin"
)

var (
	//go:embed js/launcher.svg
	launcherSVG []byte
	//go:embed js/cross.svg
	crossSVG []byte
	//go:embed js/avatar.svg
	avatarSVG []byte
)

// chunkName is the form of the interface chunk's name, whatever its hash.
var chunkName = regexp.MustCompile(`^0\.chunk\.[0-9a-z]+\.js$`)

const avatarURL = "https://" + AssetsHost + "/bots/avatar.svg"

func crossURL() string {
	return "data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(crossSVG)
}

// widgetHost serves the entry script, the frame with its parts, and the vendor's
// side of both.
func (s *Standin) widgetHost() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /static/js/widget.js", s.before(func(f Faults) Fault { return f.Entry }, s.options.EntryDelay,
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.current.Load().entry.ServeHTTP(w, r) })))
	mux.Handle("GET /static/js/frame."+s.fixed.hash+".js", s.fixed.script)
	mux.Handle("GET /static/css/frame."+s.fixed.hash+".css", s.fixed.style)
	mux.Handle("GET /favicon.ico", standin.NewBlob("image/svg+xml", standin.Forever, avatarSVG))
	mux.Handle("GET /{app}", s.before(func(f Faults) Fault { return f.Frame }, 0, s.fixed.frame))
	mux.Handle("POST "+queryPath, s.before(func(f Faults) Fault { return f.Query }, 0, http.HandlerFunc(s.query)))
	mux.HandleFunc("POST "+eventPath, s.event)
	return mux
}

// chunkHost serves the interface chunk under the name of the current edition,
// and under older ones too, as a CDN does.
func (s *Standin) chunkHost() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /embed/{chunk}", s.before(func(f Faults) Fault { return f.Chunk }, s.options.ChunkDelay,
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !chunkName.MatchString(r.PathValue("chunk")) {
				http.NotFound(w, r)
				return
			}
			s.current.Load().chunk.ServeHTTP(w, r)
		})))
	return mux
}

func (s *Standin) staticHost() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /webview/sdk/webview-sdk-1.0.0.js", s.fixed.webview)
	return mux
}

func assetsHost() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /widget/launcher.svg", standin.NewBlob("image/svg+xml", standin.Forever, launcherSVG))
	mux.Handle("GET /bots/avatar.svg", standin.NewBlob("image/svg+xml", standin.Forever, avatarSVG))
	return mux
}
