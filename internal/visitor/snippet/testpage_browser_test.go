//go:build browser

package snippet_test

import (
	"io"
	"net/http"
	"testing"

	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/visitor/snippet"
)

// TestTestPageRuns opens the test page that the command line writes, agrees to
// the chat, and opens it: the policy in the page is enough for all of it.
func TestTestPageRuns(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	for _, latest := range []bool{false, true} {
		body, err := snippet.TestPage(tag(t, func(s *snippet.Site) { s.Consent, s.Latest = snippet.ConsentAsk, latest }), "site")
		if err != nil {
			t.Fatal(err)
		}
		w.put("/", func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(out, body)
		})
		visitor := w.visitor("/")
		if got := eval[string](visitor, `document.getElementById("state").textContent`); got != "loaded, version "+snippet.Version {
			t.Errorf("the page says %q", got)
		}
		visitor.run(`document.getElementById("yes").click()`)
		w.gateway.connected(1)
		for _, step := range []string{"boot", "open"} {
			if answer := w.gateway.do(map[bool]string{false: "a/", true: "b/"}[latest]+step, step, settings()); !answer.OK {
				t.Errorf("%s: %s", step, answer.JSON)
			}
		}
		if got := eval[string](visitor, `document.getElementById("refused").textContent`); got != "nothing" {
			t.Errorf("the policy refuses %s", got)
		}
		visitor.run(`document.getElementById("no").click()`)
		w.gateway.connected(0)
		visitor.end()
	}
}
