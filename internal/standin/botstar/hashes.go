package botstar

import (
	"crypto/rand"
	"regexp"
	"strings"
)

// hashes maps the names of the CSS modules to names with a suffix, which is new
// for every start, as it is for every build of the real widget.
type hashes map[string]string

// className finds the class selectors of widget.css.
var className = regexp.MustCompile(`\.([a-z][a-z-]*[a-z])\b`)

func newHashes() hashes {
	h := hashes{}
	for _, key := range []string{
		"bs-chatbot-widget-container", "website-chat-plugin", "livechat", "popup", "inline", "fullpage", "active",
		"bs-chatbot-frame", "bs-chatbot-fab", "bs-chatbot-fab--icon", "open", "close",
	} {
		h[key] = key + "__" + suffix()
	}
	return h
}

// suffix returns five random letters and digits.
func suffix() string { return rand.Text()[:5] }

// style returns the style sheet with the hashed names.
func (h hashes) style(css string) string {
	return className.ReplaceAllStringFunc(css, func(selector string) string {
		if hashed, ok := h[strings.TrimPrefix(selector, ".")]; ok {
			return "." + hashed
		}
		return selector
	})
}
