package fault

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"for", "form", "email", "user_id"}
	for name, want := range map[string]string{
		"foo": "for", "emial": "email", "e-mail": "email", "userid": "user_id", "xyz": "", "": "",
		"elephant": "", strings.Repeat("x", 50): "",
	} {
		if got := Nearest(name, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}
