package bus_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// command returns a command and its subject.
func command(t *testing.T, session string, params string) (event.Envelope, string) {
	t.Helper()
	e, err := event.New("/test", event.CommandType("botstar.widget.open"), session, event.Command{
		Site: "shop", Visitor: event.Visitor{UserID: session}, Params: []byte(params),
	})
	if err != nil {
		t.Fatal(err)
	}
	return e, event.CommandSubject(event.ClassWrite, "botstar.widget.open", "shop", session)
}

func TestSmoke(t *testing.T) {
	b := bustest.Start(t)
	e, subject := command(t, "s1", `{}`)
	r, err := b.Publish(t.Context(), subject, e)
	t.Log(r, err)
	r, err = b.Publish(t.Context(), subject, e)
	t.Log(r, err)
}
