package crm

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

// TestTheExampleOfASubscriber runs the example with the privileges that its page
// names, and no others.
func TestTheExampleOfASubscriber(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "crm-subscriber")
	if out, err := exec.Command("go", "build", "-C", "../../examples/crm-subscriber/go", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("building the example: %v\n%s", err, out)
	}
	reader := bustest.User{Name: "crm", Password: "secret", Publish: []string{
		"$JS.API.CONSUMER.CREATE.EVT.crm-subscriber.evt.>", "$JS.API.CONSUMER.INFO.EVT.crm-subscriber",
		"$JS.API.CONSUMER.MSG.NEXT.EVT.crm-subscriber", "$JS.ACK.EVT.crm-subscriber.>",
	}, Listen: []string{"_INBOX_crm.>"}}
	worker := bustest.User{Name: "worker", Password: "secret"}
	s := bustest.Serve(t, worker, reader)
	b := bustest.Open(t, bus.Options{URL: s.URL(worker)})
	e, err := event.New("/workers/w1", event.FactType("botstar", event.FactWidgetOpened), "s1", event.WidgetOpened{
		Occurrence: event.Occurrence{Site: "shop", Session: "s1", Cause: event.CauseVisitor},
	})
	if err == nil {
		_, err = b.Publish(t.Context(), event.FactSubject("botstar", event.FactWidgetOpened, "shop", "s1"), e)
	}
	if err != nil {
		t.Fatal(err)
	}
	process := exec.CommandContext(t.Context(), binary)
	process.Env, process.Stderr = []string{"NATS_URL=" + s.URL(reader)}, t.Output()
	out, err := process.StdoutPipe()
	if err == nil {
		err = process.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || !strings.Contains(lines.Text(), e.Type+" shop/s1 by visitor ("+e.ID+")") {
		t.Errorf("the example prints %q, %v", lines.Text(), lines.Err())
	}
	if err := process.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = process.Wait() // It was killed.
}
