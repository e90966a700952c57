package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/standin/botstar"
)

// TestMarksNameTheirCommands reads the vendor's record: what carries a mark is
// the effect of a command, and nothing else is.
func TestMarksNameTheirCommands(t *testing.T) {
	t.Parallel()
	session := event.SessionKey(shopSite, event.Visitor{UserID: "v-1"})
	at := time.Unix(5, 0)
	entry := func(kind botstar.Kind, attributes map[string]any) botstar.Entry {
		return botstar.Entry{Kind: kind, At: at, Visitor: "v-1", Instance: "i-1", Attributes: attributes}
	}
	got := marks([]botstar.Entry{
		entry(botstar.Booted, map[string]any{markAttribute: "3"}),
		entry(botstar.Updated, map[string]any{markAttribute: "6", "other": 1.0}),
		entry(botstar.Updated, map[string]any{"other": "6"}),
		entry(botstar.Updated, map[string]any{markAttribute: "x"}),
		entry(botstar.Opened, nil),
		entry(botstar.Updated, map[string]any{markAttribute: "6"}),
	}, map[string]string{place(session, 6): "c-6"})
	want := effect{ID: "c-6", Site: shopSite, Session: session, Seq: 6, Life: "i-1", At: at}
	if diff := cmp.Diff([]effect{want, want}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"c-6"}, twice(got)); diff != "" {
		t.Errorf("a command that was done twice in one page life:\n%s", diff)
	}
}

func TestAWindowOpensWhenItIsClosed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		kinds string // o and c in the life i, O and C in the life k
		wrong int
	}{
		{"in turn", "ococ", 0},
		{"twice open", "oco" + "o", 1},
		{"closed first", "c", 1},
		{"open in two lives", "oO", 0},
		{"in turn in two lives", "oOcCoO", 0},
		{"closed twice", "occ", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var entries []botstar.Entry
			for _, k := range test.kinds {
				e := botstar.Entry{Kind: botstar.Opened, Visitor: "v", Instance: "i"}
				if k == 'c' || k == 'C' {
					e.Kind = botstar.Closed
				}
				if k == 'O' || k == 'C' {
					e.Instance = "k"
				}
				entries = append(entries, e, botstar.Entry{Kind: botstar.Messaged, Instance: e.Instance})
			}
			if got := unsteady(entries); len(got) != test.wrong {
				t.Errorf("found %v, want %d", got, test.wrong)
			}
		})
	}
}

func TestPageActionsStayBelowTheVendorsLimit(t *testing.T) {
	t.Parallel()
	var s settings
	if err := s.complete("none"); err == nil {
		t.Error("a run without workers is complete")
	}
	s = settingsOf(t, "-mode pages")
	updates, open := 0, 0
	for seq := range s.Span {
		action, marked := pageAction(seq)
		if marked != (action == "botstar.widget.update") {
			t.Errorf("%s is marked: %t", action, marked)
		}
		switch action {
		case "botstar.widget.update":
			updates++
		case "botstar.widget.open":
			open++
		case "botstar.widget.close":
			open--
		}
		if open < 0 || open > 1 {
			t.Errorf("the window opens and closes out of turn at %d", seq)
		}
	}
	if updates > 18 || updates < 10 {
		t.Errorf("%d updates, and the vendor takes 20", updates)
	}
}
