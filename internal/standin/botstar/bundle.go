package botstar

import (
	"bytes"
	_ "embed" // The scripts, styles and pages.
	"encoding/json"
	"fmt"
	"strings"

	"github.com/parley-chat/parley/internal/standin"
)

const (
	javascript = "text/javascript; charset=utf-8"
	css        = "text/css; charset=utf-8"
	html       = "text/html; charset=utf-8"
)

var (
	//go:embed js/unknown.js
	unknownJS string
	//go:embed js/entry.js
	entryJS string
	//go:embed js/chunk.js
	chunkJS string
	//go:embed js/frame.js
	frameJS string
	//go:embed js/webview-sdk.js
	webviewJS string
	//go:embed js/filler.js
	fillerJS string
	//go:embed js/polyfill.js
	polyfillJS string
	//go:embed js/widget.css
	widgetCSS string
	//go:embed js/frame.css
	frameCSS string
	//go:embed js/frame.html
	frameHTML string
)

// A build is what the scripts are told about the build they belong to.
type build struct {
	Classes      hashes         `json:"classes,omitempty"`
	Style        string         `json:"style,omitempty"`
	WidgetOrigin string         `json:"widgetOrigin"`
	ChunkHost    string         `json:"chunkHost,omitempty"`
	Chunks       map[int]string `json:"chunks,omitempty"`
	IconURL      string         `json:"iconURL,omitempty"`
	CrossURL     string         `json:"crossURL,omitempty"`
}

// bundle joins the scripts into one, in a scope of their own, with the build in
// front.
func bundle(b build, scripts ...string) []byte {
	told, err := json.Marshal(b)
	if err != nil {
		told = []byte("null") // A build holds strings only, so this cannot be.
	}
	var out bytes.Buffer
	out.WriteString("(function () {\n\"use strict\";\nconst build = ")
	out.Write(told)
	out.WriteString(";\n")
	for _, script := range scripts {
		out.WriteString(script)
	}
	out.WriteString("})();\n")
	return out.Bytes()
}

// filler returns an object literal of polyfills that takes up about size bytes.
func filler(size int) string {
	var out strings.Builder
	out.WriteString("const polyfills = {\n")
	for i := 0; out.Len() < size; i++ {
		out.WriteString(strings.ReplaceAll(fillerJS, "NAME", fmt.Sprintf("polyfill%d", i)))
	}
	out.WriteString("};\n")
	return out.String()
}

// fixed are the answers that stay the same for the life of the stand-in.
type fixed struct {
	hash                 string
	frame, style, script *standin.Blob
	webview              *standin.Blob
}

func newFixed() fixed {
	hash := suffix()
	origin := build{WidgetOrigin: WidgetOrigin}
	return fixed{
		hash:    hash,
		frame:   standin.NewBlob(html, standin.Revalidate, []byte(strings.ReplaceAll(frameHTML, "{{.Hash}}", hash))),
		style:   standin.NewBlob(css, standin.Forever, []byte(frameCSS)),
		script:  standin.NewBlob(javascript, standin.Forever, bundle(origin, unknownJS, frameJS)),
		webview: standin.NewBlob(javascript, standin.Revalidate, bundle(origin, unknownJS, webviewJS)),
	}
}

// An edition is what one call of Set put into force. Each has its own chunk
// name, so that no cache hides a fault of the chunk.
type edition struct {
	faults       Faults
	entry, chunk *standin.Blob
}

func newEdition(o Options, h hashes, f Faults) *edition {
	hash := strings.ToLower(suffix())
	told := build{WidgetOrigin: WidgetOrigin, Classes: h, ChunkHost: ChunkHost, Chunks: map[int]string{0: hash}}
	entry := bundle(told, entryJS)
	if missing := o.EntrySize - len(entry); missing > 0 {
		entry = bundle(told, filler(missing-len(polyfillJS)), polyfillJS, entryJS)
	}
	told.Style, told.IconURL, told.CrossURL = h.style(widgetCSS), "https://"+AssetsHost+"/widget/launcher.svg", crossURL()
	return &edition{
		faults: f,
		entry:  standin.NewBlob(javascript, standin.Revalidate, entry),
		chunk:  standin.NewBlob(javascript, standin.Forever, bundle(told, unknownJS, chunkJS)),
	}
}
