package app

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
)

// TestFiguresOfREST: each one is explained, and says what it is named for.
func TestFiguresOfREST(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	stats := actions.RESTStats{Calls: 1, Again: 2, Limited: 3, Held: 4, HeldFor: 5 * time.Millisecond, Refused: 6, Waiting: 7}
	figures := restFigures(func() actions.RESTStats { return stats })
	for i, f := range figures {
		if f.Read() != float64(i+1) || f.Help == "" || f.Counts != strings.HasSuffix(f.Name, "_total") {
			t.Errorf("%s is %v", f.Name, f.Read())
		}
		if !strings.Contains(string(text), "`"+f.Name+"`") {
			t.Errorf("docs/operations.md does not explain %s", f.Name)
		}
	}
	if len(figures) != 7 {
		t.Errorf("there are %d figures", len(figures))
	}
}

// TestRateOfTheConfiguration reaches the client's budgets.
func TestRateOfTheConfiguration(t *testing.T) {
	t.Parallel()
	cfg, err := parseConfig("parley.yaml", []byte(oneSite+"worker: {rest_rate: 5, rest_burst: 2}\n"), Env{}, catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Worker.RESTRate != 5 || cfg.Worker.RESTBurst != 2 {
		t.Errorf("the worker has %+v", cfg.Worker)
	}
	if _, err := parseConfig("parley.yaml", []byte(oneSite+"worker: {rest_rate: -1}\n"), Env{}, catalogue(t)); err == nil {
		t.Error("a negative rate is taken")
	}
}
