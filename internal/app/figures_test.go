package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/sql"
	"github.com/parley-chat/parley/internal/telemetry"
	"github.com/parley-chat/parley/internal/visitor"
)

// TestFiguresAreExplained holds docs/operations.md: every figure of the process
// is in it.
func TestFiguresAreExplained(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	s := &System{}
	seen := map[string]bool{}
	database, err := sql.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "crm.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = database.Close() }()
	target, err := crm.New(bustest.Log(t), nil, crm.Options{Name: "local", Connector: database})
	if err != nil {
		t.Fatal(err)
	}
	crms := &targets{list: []*crm.Target{target}}
	for _, figures := range [][]telemetry.Figure{s.ownership(), s.residency(), s.browsers(), gatewayFigures((*visitor.Gateway)(nil).Stats), crms.figures()} {
		for _, f := range figures {
			seen[f.Name] = true
			if !strings.Contains(string(text), "`"+f.Name+"`") {
				t.Errorf("docs/operations.md does not explain %s", f.Name)
			}
			if f.Counts != strings.HasSuffix(f.Name, "_total") {
				t.Errorf("%s counts: %t, and its name says otherwise", f.Name, f.Counts)
			}
			if f.Help == "" || !strings.HasSuffix(f.Help, ".") {
				t.Errorf("%s has the help %q", f.Name, f.Help)
			}
		}
	}
	if len(seen) < 58 {
		t.Errorf("there are %d figures", len(seen))
	}
}
