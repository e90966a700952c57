package app

import (
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

const someSession = "k5x2m7q4abcdefghijklmnopqr"

func TestView(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	problem := &event.Problem{Code: "unavailable", Reason: "page_load_failed", Message: "the page did not load\x1b[2J"}
	tests := []struct {
		subject, typ string
		data         any
	}{
		{event.TriggerSubject("cli", "track", "shop", someSession), event.TriggerType("track"), event.Trigger{
			Event: "Pricing Viewed", Properties: map[string]any{"plan": "pro", "seats": 12, "a": 1, "b": 2, "c": 3},
		}},
		{event.WorkflowCommandSubject("w", "botstar.widget.open", "shop", someSession), event.CommandType("botstar.widget.open"), nil},
		{event.ResultSubject("botstar.widget.open", "shop", someSession), event.ResultType("botstar.widget.open"), event.Result{
			Action: "botstar.widget.open", Status: event.Succeeded, Verdict: event.Confirmed, DurationUS: 1_674_623,
		}},
		{event.ResultSubject("botstar.widget.update", "shop", someSession), event.ResultType("botstar.widget.update"), event.Result{
			Action: "botstar.widget.update", Status: event.Succeeded, Verdict: event.Unverifiable, DurationUS: 4_198,
		}},
		{event.ResultSubject("botstar.widget.update", "shop", someSession), event.ResultType("botstar.widget.update"), event.Result{
			Action: "botstar.widget.update", Status: event.Queued, Verdict: event.Unverifiable, DurationUS: 41_980,
		}},
		{event.ResultSubject("botstar.widget.open", "shop", someSession), event.ResultType("botstar.widget.open"), event.Result{
			Action: "botstar.widget.open", Status: event.Failed, Verdict: event.Unconfirmed, Problem: problem,
		}},
		{event.FactSubject("botstar", event.FactWidgetOpened, "shop", someSession), event.FactType("botstar", event.FactWidgetOpened), event.WidgetOpened{
			Occurrence: event.Occurrence{Cause: event.CauseVisitor},
		}},
		{event.DeadSubject(fault.BadRule, "shop", someSession), event.DeadLetterType, event.DeadLetter{
			Problem: event.Problem{Reason: "bad_rule", Message: "rule pricing: no such key: plan"},
		}},
		{"elsewhere", "com.example.other", nil},
	}
	var lines []string
	for i, test := range tests {
		e, err := event.New("/workflows/pricing-viewed", test.typ, someSession, test.data)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, view{since: began}.line(test.subject, began.Add(time.Duration(i)*1234*time.Millisecond), e))
	}
	golden(t, "testdata/view.golden", strings.Join(lines, "\n")+"\n")
}

func TestViewColours(t *testing.T) {
	t.Parallel()
	e, err := event.New("/x", event.ResultType("botstar.widget.open"), someSession, event.Result{
		Action: "botstar.widget.open", Status: event.Succeeded, Verdict: event.Confirmed,
	})
	if err != nil {
		t.Fatal(err)
	}
	line := view{colour: true}.line(event.ResultSubject("botstar.widget.open", "shop", someSession), e.Time, e)
	if !strings.Contains(line, "\x1b[32mverified\x1b[0m") {
		t.Errorf("the line is %q, want a green verdict", line)
	}
}
