package message

import (
	"testing"

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
