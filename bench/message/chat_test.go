package message

import (
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/schemas"
)

// TestTheChatsAreReal holds what happens in a chat against the published schemas
// and subjects.
func TestTheChatsAreReal(t *testing.T) {
	t.Parallel()
	checks, err := event.NewSchemas(schemas.FS)
	if err != nil {
		t.Fatal(err)
	}
	chat, at := ChatOf(7), time.Now().UTC()
	for prefix, do := range map[string]func() (Letter, error){
		"in.web.identify.shop.":          func() (Letter, error) { return chat.Known(at, map[string]any{"name": "Ada"}) },
		"evt.botstar.widget.opened.shop": func() (Letter, error) { return chat.Opened(at) },
		"evt.botstar.widget.closed.shop": func() (Letter, error) { return chat.Closed(at) },
	} {
		l, err := do()
		if err != nil {
			t.Fatal(err)
		}
		if err := checks.Validate(l.Type, l.Data); err != nil {
			t.Errorf("%s: %v", l.Type, err)
		}
		if !strings.HasPrefix(l.Subject, prefix) || !strings.HasSuffix(l.Subject, chat.Session) {
			t.Errorf("the subject is %s, want one that begins with %s and ends with the session", l.Subject, prefix)
		}
	}
	if ChatOf(8).Session == chat.Session || ChatOf(7).Session != chat.Session {
		t.Error("a visitor has one session, and another one has another")
	}
}
