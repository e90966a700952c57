package app

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	crmsql "github.com/parley-chat/parley/internal/crm/sql"
	"github.com/parley-chat/parley/internal/event"
)

// TestCRMCommands goes through the commands about CRMs, with a target that is
// served beside them.
func TestCRMCommands(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	dir := t.TempDir()
	file := filepath.Join(dir, "parley.yaml")
	config := "bus: {url: " + s.URL() + "}\ncrm:\n  targets:\n    local:\n      type: sqlite\n      path: crm.db\n      contact: {email: '${visitor.email}', name: {value: '${traits.name}', rule: if_empty}}\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	must := func(args ...string) string {
		t.Helper()
		var out, problems bytes.Buffer
		p := Process{Args: append([]string{"crm"}, append(args, "-c", file)...), Env: Env{}, Stdout: &out, Stderr: &problems}
		if code := Publisher(t.Context(), p); code != 0 {
			t.Fatalf("publisher crm %v ends with %d:\n%s%s", args, code, out.String(), problems.String())
		}
		return out.String()
	}
	want := func(text, part string) {
		t.Helper()
		if !strings.Contains(text, part) {
			t.Errorf("it prints\n%s\nwant %q in it", text, part)
		}
	}
	want(must("status"), "nobody has served it yet")
	want(must("schema"), "email")
	want(must("setup"), "is there")
	connector, err := crmsql.OpenSQLite(t.Context(), filepath.Join(dir, "crm.db"))
	if err != nil {
		t.Fatal(err)
	}
	target, err := crm.New(bustest.Log(t), b, crm.Options{Name: "local", Connector: connector, Since: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- target.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := connector.Close(); err != nil {
			t.Error(err)
		}
	}()
	who := event.Visitor{UserID: "u-1", Email: "ada@example.test"}
	session := event.SessionKey("shop", who)
	e, err := event.New("/ingest/test", event.TriggerType(event.KindIdentify), session, event.Trigger{
		Site: "shop", Visitor: who, Event: "identify", OccurredAt: time.Now(), Traits: map[string]any{"name": "Ada"},
	})
	if err == nil {
		_, err = b.Publish(t.Context(), event.TriggerSubject("test", event.KindIdentify, "shop", session), e)
	}
	if err != nil {
		t.Fatal(err)
	}
	bustest.Until(t, "the contact is a row", func() bool {
		status, err := crm.StatusOf(t.Context(), b, "local")
		return err == nil && status.Position.Flow > 0 && status.Waiting == 0
	})
	want(must("status"), "well")
	want(must("preview"), "nothing would change")
	want(must("dead"), "nothing was rejected")
	if _, err := connector.DB().ExecContext(t.Context(), "UPDATE contacts SET email = 'other@example.test'"); err != nil {
		t.Fatal(err)
	}
	want(must("preview", "--session", session), "other@example.test -> ada@example.test  (always)")
	want(must("backfill", "--rate", "1000"), "writes everything again")
	bustest.Until(t, "the backfill has mended it", func() bool {
		var email string
		err := connector.DB().QueryRowContext(t.Context(), "SELECT email FROM contacts").Scan(&email)
		return err == nil && email == "ada@example.test"
	})
	want(must("replay"), "tries them again")
}
