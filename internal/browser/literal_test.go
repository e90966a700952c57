package browser

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A literal is ASCII without anything that means something to HTML or to
// JavaScript, and is the text again when it is read.
func TestLiteral(t *testing.T) {
	t.Parallel()
	safe := regexp.MustCompile(`^"([ !#-%(-;=?-\[\]-_a-~]|\\u[0-9a-f]{4})*"$`)
	for _, text := range []string{
		"", "plain", `"\`, "'`${x}", "</script><!--", "\u2028\u2029\r\n\x00\x7f", "ü€🌙\ufeff\uffff", "a\u0000b",
	} {
		got := literal(text)
		if !safe.MatchString(got) {
			t.Errorf("literal(%q) is %s", text, got)
		}
		var back string
		if err := json.Unmarshal([]byte(got), &back); err != nil || back != text {
			t.Errorf("literal(%q) is read as %q, %v", text, back, err)
		}
	}
}

func FuzzLiteral(f *testing.F) {
	f.Add("</script>\u2028")
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ToValidUTF8(text, "?")
		var back string
		if err := json.Unmarshal([]byte(literal(text)), &back); err != nil || back != text {
			t.Errorf("literal(%q) is read as %q, %v", text, back, err)
		}
	})
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	const top = "https://shop.test"
	tests := []struct {
		key    string
		want   Origin
		stores bool
	}{
		{"https://www.shop.test/", Origin{Origin: "https://www.shop.test", Top: top}, true},
		{"https://www.shop.test:8443/", Origin{Origin: "https://www.shop.test:8443", Top: top}, true},
		{"https://www.shop.test/^31", Origin{Origin: "https://www.shop.test", Top: top, Crossed: true}, true},
		{"https://widget.test/^0https://other.test", Origin{Origin: "https://widget.test", Top: "https://other.test"}, true},
		{"https://widget.test/^11^22", Origin{}, false},
		{"https://widget.test/^41^52^63", Origin{}, false},
		{"", Origin{Top: top}, false},
	}
	for _, test := range tests {
		got, stores := parseKey(test.key, top)
		if stores != test.stores {
			t.Errorf("parseKey(%q) says %t", test.key, stores)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("parseKey(%q) (-want +got):\n%s", test.key, diff)
		}
	}
}
