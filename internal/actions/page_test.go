package actions_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
)

// noted is a page that notes what it is asked.
type noted struct{ names []string }

var errNoted = errors.New("the page says no")

func (n *noted) Call(_ context.Context, name string, _, out any) error {
	n.names = append(n.names, name)
	if text, ok := out.(*string); ok {
		*text = "answered"
	}
	if name == "webview/fails" {
		return errNoted
	}
	return nil
}

func (*noted) Events(context.Context) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) { yield(json.RawMessage(`"said"`), nil) }
}

// A further driver's page is the same page, with names of its own.
func TestFurtherIsTheSamePage(t *testing.T) {
	t.Parallel()
	page := &noted{}
	env := actions.Env{Page: page, Key: "k"}
	on := env.On(actions.Further(page, "webview"))
	var answer string
	if err := on.Do(t.Context(), "start", nil, &answer); err != nil || answer != "answered" {
		t.Errorf("it answers %q, %v", answer, err)
	}
	if err := on.Look(t.Context(), "fails", nil, nil); !errors.Is(err, errNoted) {
		t.Errorf("the page's own error becomes %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_ = on.Do(gone, "fails", nil, nil)
	_ = env.Do(t.Context(), "state", nil, nil)
	if diff := cmp.Diff([]string{"webview/start", "webview/fails", "webview/fails", "webview/abandon", "state"}, page.names); diff != "" {
		t.Errorf("the names (-want +got):\n%s", diff)
	}
	for said, err := range on.Page.Events(t.Context()) {
		if string(said) != `"said"` || err != nil {
			t.Errorf("it says %s, %v", said, err)
		}
	}
}
