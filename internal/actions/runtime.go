package actions

import (
	_ "embed" // for the page runtime
	"encoding/json"
	"strings"
)

// The worlds of a page: see [Driver].
const (
	WorldMain = "main" // The page's own world.
	WorldLook = "look" // The isolated world named "parley".
)

//go:embed runtime.js
var runtimeSource string

// Script returns the document-start script of a page for the world: the page
// runtime around the driver's source. nonce is the secret name of the event
// that carries signals from the main world to the isolated one. It is the same
// in both scripts of one tab, and must be hard to guess.
func Script(world, nonce, driver string) string {
	if strings.TrimSpace(driver) == "" {
		driver = "(function () { return {}; })"
	}
	return expression(runtimeSource) + "(" + quote(world) + ", " + quote(nonce) + ", " + expression(driver) + ");\n"
}

// Runtime returns the page runtime as an expression of JavaScript: a function of
// the world, the nonce and the driver. In a visitor's own page both worlds are
// the page's, and globalThis is an object of ours.
func Runtime() string { return expression(runtimeSource) }

// expression returns the source without the semicolon that ends it, so that it
// can be an argument.
func expression(source string) string { return strings.TrimRight(source, "; \r\n\t") }

// quote returns the text as a string literal of JavaScript. JSON is one, since
// encoding/json escapes U+2028 and U+2029.
func quote(text string) string {
	literal, err := json.Marshal(text)
	if err != nil {
		return `""` // Cannot be: every string has a JSON form.
	}
	return string(literal)
}
