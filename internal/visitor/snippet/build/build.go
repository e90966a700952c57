package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evanw/esbuild/pkg/api"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/visitor/snippet"
)

// target is the oldest JavaScript that the files need: all browsers of 2022.
const target = api.ES2021

// A provider is one driver to build.
type provider struct {
	name   string
	driver actions.Driver
	csp    map[string][]string
	// further says that another driver of the provider may be in the document too.
	further bool
}

func providers() []provider {
	p := botstar.Provider()
	all := []provider{{p.Name, p.Driver, botstar.PageCSP(), false}}
	for _, name := range slices.Sorted(maps.Keys(p.Further)) {
		all = append(all, provider{p.Name + "-" + name, p.Further[name], nil, true})
	}
	return all
}

// once keeps a further driver from telling of the document's beginning: that is
// told once, by the provider's own.
const once = `const tell = look.__parleyEmit;
    look.__parleyEmit = (json) => JSON.parse(json).name === "page.started" || tell(json);`

// build returns the files of dist by name.
func build(src string) (map[string][]byte, error) {
	files := map[string][]byte{}
	manifest := snippet.Manifest{Drivers: map[string]snippet.File{}}
	known := map[string][2]string{}
	for _, p := range providers() {
		code, err := bundle(p)
		if err != nil {
			return nil, fmt.Errorf("building the driver of %s: %w", p.name, err)
		}
		file := describe(p.name, code)
		file.CSP, file.Further = p.csp, p.further
		manifest.Drivers[p.name] = file
		files[file.Name] = code
		known[p.name] = [2]string{file.Name, file.Integrity}
	}
	code, err := core(src, known)
	if err != nil {
		return nil, fmt.Errorf("building parley.js: %w", err)
	}
	manifest.Snippet = describe("parley", code)
	files[manifest.Snippet.Name] = code
	raw, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the manifest: %w", err)
	}
	files["manifest.json"] = append(raw, '\n')
	return files, nil
}

// core builds parley.js. The drivers' names and hashes are in it, so that its
// own hash vouches for them too.
func core(src string, drivers map[string][2]string) ([]byte, error) {
	table, err := json.Marshal(drivers)
	if err != nil {
		return nil, fmt.Errorf("writing the table of drivers: %w", err)
	}
	options := api.BuildOptions{
		EntryPoints: []string{filepath.Join(src, "main.js")},
		Bundle:      true, Format: api.FormatIIFE, Target: target, Platform: api.PlatformBrowser,
		MinifyWhitespace: true, MinifyIdentifiers: true, MinifySyntax: true,
		Charset: api.CharsetASCII, LegalComments: api.LegalCommentsNone, LogLevel: api.LogLevelSilent,
		MangleProps: "^_[a-z]",
		// Not even its first line may throw into the page.
		Banner: map[string]string{"js": "try{"}, Footer: map[string]string{"js": "}catch{}"},
		Define: map[string]string{"DRIVERS": string(table), "VERSION": `"` + snippet.Version + `"`},
	}
	result := api.Build(options)
	if err := failed(result.Errors, result.Warnings); err != nil {
		return nil, err
	}
	if len(result.OutputFiles) != 1 {
		return nil, fmt.Errorf("%d files came out, and not one", len(result.OutputFiles))
	}
	return result.OutputFiles[0].Contents, nil
}

// bundle builds a driver: the page runtime, once, and the scripts of the two
// worlds. globalThis is an object of ours in each of them, since here both run
// in the page's own world.
func bundle(p provider) ([]byte, error) {
	first := ""
	if p.further {
		first = once
	}
	source := `(function () {
  "use strict";
  const world = (globalThis) => ` + actions.Runtime() + `;
  window.parley.driver = (main, look, nonce) => {
    ` + first + `
    world(look)("look", nonce, ` + expression(p.driver.Look) + `);
    world(main)("main", nonce, ` + expression(p.driver.Main) + `);
  };
})();`
	result := api.Transform(source, api.TransformOptions{
		Loader: api.LoaderJS, Target: target, Platform: api.PlatformBrowser,
		MinifyWhitespace: true, MinifyIdentifiers: true, MinifySyntax: true,
		Charset: api.CharsetASCII, LegalComments: api.LegalCommentsNone, LogLevel: api.LogLevelSilent,
	})
	if err := failed(result.Errors, result.Warnings); err != nil {
		return nil, err
	}
	return result.Code, nil
}

// expression returns a driver's source without the semicolon at its end.
func expression(source string) string { return strings.TrimRight(source, "; \r\n\t") }

// failed turns what esbuild says into an error. A warning is one too.
func failed(lists ...[]api.Message) error {
	var errs []error
	for _, list := range lists {
		for _, m := range list {
			at := ""
			if m.Location != nil {
				at = fmt.Sprintf("%s:%d: ", m.Location.File, m.Location.Line)
			}
			errs = append(errs, fmt.Errorf("%s%s", at, m.Text))
		}
	}
	return errors.Join(errs...)
}

func describe(name string, code []byte) snippet.File {
	sum := sha256.Sum256(code)
	return snippet.File{
		Name:      name + "-" + hex.EncodeToString(sum[:6]) + ".js",
		Integrity: "sha256-" + base64.StdEncoding.EncodeToString(sum[:]),
		Bytes:     len(code), Gzip: zipped(code),
	}
}

// zipped returns how many bytes the code has on its way.
func zipped(code []byte) int {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return len(code) // Never: the level is one of the package's own.
	}
	_, _ = w.Write(code)
	_ = w.Close()
	return b.Len()
}
