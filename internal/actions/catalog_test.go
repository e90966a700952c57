package actions_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

func spec(name string, makes []actions.Fact, aliases ...string) actions.Spec {
	s := actions.Spec{Name: name, Makes: makes}
	for _, alias := range aliases {
		s.Aliases = append(s.Aliases, actions.Alias{Name: alias, Kind: "title"})
	}
	return s
}

func TestCatalog(t *testing.T) {
	t.Parallel()
	c, err := actions.NewCatalog(actions.Provider{Name: "acme", Actions: []actions.Spec{
		spec("acme.widget.boot", []actions.Fact{actions.Booted}, "Boot the widget"),
		spec("acme.widget.open", []actions.Fact{actions.Open}, "Open the widget", "ACME_OPEN"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"acme.widget.open": "acme.widget.open", "acme_open": "acme.widget.open", " boot  THE widget ": "acme.widget.boot",
	} {
		if got, _, err := c.Find(name); err != nil || got.Name != want {
			t.Errorf("Find(%q) = %q, %v", name, got.Name, err)
		}
	}
	_, _, err = c.Find("acme.widget.opne")
	if f := fault.From(err); f.Reason != fault.UnknownAction || f.Fix != "did you mean acme.widget.open? `publisher actions` lists the names" {
		t.Errorf("a misspelt name gives %v, %q", err, f.Fix)
	}
	if _, _, err := c.Find("something else entirely"); fault.From(err).Fix != fault.UnknownAction.Entry().Fix {
		t.Errorf("a strange name gives the fix %q", fault.From(err).Fix)
	}
	makers := c.Makers("acme", actions.Open)
	if len(makers) != 1 || makers[0].Name != "acme.widget.open" || len(c.Makers("nobody", actions.Open)) != 0 {
		t.Errorf("Makers = %v", makers)
	}
}

func TestCatalogRefuses(t *testing.T) {
	t.Parallel()
	for name, specs := range map[string][]actions.Spec{
		"a name twice":     {spec("acme.widget.open", nil), spec("acme.widget.open", nil)},
		"an alias twice":   {spec("acme.widget.open", nil, "Open it"), spec("acme.widget.close", nil, "open  IT")},
		"an illegal name":  {spec("acme.widget", nil)},
		"a name with case": {spec("acme.widget.Open", nil)},
	} {
		if _, err := actions.NewCatalog(actions.Provider{Name: "acme", Actions: specs}); err == nil {
			t.Errorf("the catalogue took %s", name)
		}
	}
}

type testIn struct {
	Text string `json:"text"`
}

type testOut struct {
	Text string `json:"text"`
	seen string
}

// TestNew passes what a run leaves on to its verification, typed.
func TestNew(t *testing.T) {
	t.Parallel()
	s := actions.New(actions.Spec{Name: "acme.widget.open"},
		func(_ context.Context, _ actions.Env, in testIn) (actions.Done[testOut], error) {
			return actions.Done[testOut]{Output: testOut{Text: in.Text, seen: "it"}, Advice: "none"}, nil
		},
		func(_ context.Context, _ actions.Env, in testIn, out testOut) (actions.Proof, error) {
			if in.Text != out.Text || out.seen != "it" {
				return actions.Proof{Verdict: event.Contradicted}, nil
			}
			return actions.Proof{Verdict: event.Confirmed}, nil
		})
	params := json.RawMessage(`{"text":"hello"}`)
	outcome, err := s.Run(t.Context(), actions.Env{}, params)
	if err != nil || outcome.Advice != "none" {
		t.Fatalf("Run = %+v, %v", outcome, err)
	}
	if proof, err := s.Verify(t.Context(), actions.Env{}, params, outcome); err != nil || proof.Verdict != event.Confirmed {
		t.Errorf("Verify = %+v, %v", proof, err)
	}
	outcome.Output = "something else"
	if _, err := s.Verify(t.Context(), actions.Env{}, params, outcome); fault.CodeOf(err) != fault.Internal {
		t.Errorf("Verify of another output = %v", err)
	}
	_, err = s.Run(t.Context(), actions.Env{}, json.RawMessage(`{"text":3}`))
	if f := fault.From(err); f == nil || f.Reason != fault.SchemaViolation || f.Field != "/params" {
		t.Errorf("Run with a number = %v", err)
	}
}

func TestUnmet(t *testing.T) {
	t.Parallel()
	got := map[actions.Fact]fault.Reason{}
	for _, fact := range []actions.Fact{actions.Booted, actions.Windowed, actions.Open, actions.WebviewOpen, "nonsense"} {
		got[fact] = fact.Unmet()
	}
	want := map[actions.Fact]fault.Reason{
		actions.Booted: fault.NotBooted, actions.Windowed: fault.ModeNotSupported, actions.Open: fault.NotOpen,
		actions.WebviewOpen: fault.WebviewNotOpen, "nonsense": fault.InternalError,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Unmet (-want +got):\n%s", diff)
	}
}
