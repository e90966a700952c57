package message

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/schemas"
)

// TestTheMessagesAreReal holds the messages against the published schemas: a
// benchmark of messages that a worker would refuse would measure nothing.
func TestTheMessagesAreReal(t *testing.T) {
	t.Parallel()
	checks, err := event.NewSchemas(schemas.FS)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		command := Command(n, n)
		for _, e := range []event.Envelope{command, Result(command), Fact(command)} {
			got, err := event.Decode(event.Encode(e))
			if err != nil {
				t.Fatal(err)
			}
			if err := checks.Validate(got.Type, got.Data); err != nil {
				t.Errorf("%s: %s", got.Type, err)
			}
		}
		address, err := event.ParseCommandSubject(CommandSubject(command))
		if err != nil || event.CommandType(address.Action) != command.Type {
			t.Errorf("the subject %s is not that of a %s: %v", CommandSubject(command), command.Type, err)
		}
	}
}

// TestTheTriggersAreReal holds what the peers store against the schema of what
// the edge stores.
func TestTheTriggersAreReal(t *testing.T) {
	t.Parallel()
	checks, err := event.NewSchemas(schemas.FS)
	if err != nil {
		t.Fatal(err)
	}
	subject, e, err := Trigger("m-1", Viewed("m-1", 7, 20, time.Now().UTC()))
	if err != nil {
		t.Fatal(err)
	}
	if err := checks.Validate(e.Type, e.Data); err != nil {
		t.Error(err)
	}
	session := event.SessionKey(Site, event.Visitor{UserID: "u-7"})
	if want := "in.web.track.shop." + session; subject != want {
		t.Errorf("the subject is %s, want %s", subject, want)
	}
	if call := Call("m-1", 7, time.Now()); !json.Valid([]byte(call)) {
		t.Errorf("the call is no JSON: %s", call)
	}
}
