package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/runtime"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// callText is the only function that we ever call in a page. Name and
	// argument travel as two strings, so no data becomes source (JS1, JS2).
	callText = `function(n,a){return globalThis.__parley.call(n,a)}`
	// lookPrefix is the beginning of the names that run in the isolated world.
	lookPrefix = "look."
	maxAnswer  = 1 << 20 // bytes
	maxMessage = 500     // characters of a page's message
)

// Call runs the named function of the page runtime with arg, and reads its
// answer into out, which may be nil. A name that begins with "look." runs in
// the isolated world. When ctx ends first, Call finds out whether the page
// still runs: one that hangs is freed, or loses its tab.
func (t *Tab) Call(ctx context.Context, name string, arg, out any) error {
	raw, err := json.Marshal(arg)
	if err != nil {
		return fmt.Errorf("encoding the argument of %s: %w", name, err)
	}
	look := strings.HasPrefix(name, lookPrefix)
	doc, err := t.await(ctx, func(d document) bool { return d.main != "" && (!look || d.look != "") })
	if err != nil {
		return fmt.Errorf("calling %s: %w", name, err)
	}
	where := doc.main
	if look {
		where = doc.look
	}
	t.touch()
	sent := begin(t.session, runtime.CallFunctionOn, runtime.CallFunctionOnParams{
		FunctionDeclaration: callText,
		UniqueContextID:     where,
		Arguments:           []*runtime.CallArgument{{Value: text(name)}, {Value: text(string(raw))}},
		AwaitPromise:        new(true),
		ReturnByValue:       new(true),
	})
	result, err := t.settle(ctx, doc, sent)
	if err == nil {
		err = readAnswer(result, out)
	}
	if err != nil {
		return fmt.Errorf("calling %s: %w", name, err)
	}
	return nil
}

// settle waits for the answer, the end of the document or of the tab, or ctx.
func (t *Tab) settle(ctx context.Context, doc document, sent future[runtime.CallFunctionOnResult]) (runtime.CallFunctionOnResult, error) {
	select {
	case a := <-sent.reply.done:
		sent.reply.done <- a
	case <-doc.gone:
		// An answer that came before the end counts.
		select {
		case a := <-sent.reply.done:
			sent.reply.done <- a
		default:
			return runtime.CallFunctionOnResult{}, fault.New(fault.PageNavigated, "the page went elsewhere during the call")
		}
	case <-ctx.Done():
		return runtime.CallFunctionOnResult{}, t.overdue(ctx)
	}
	result, err := sent.wait(ctx)
	if err == nil {
		return result, nil
	}
	if refused, ok := errors.AsType[*cdproto.Error](err); ok {
		return result, t.refused(refused)
	}
	return result, t.lost(err)
}

// refused turns what the protocol says about a call into a fault.
func (t *Tab) refused(err *cdproto.Error) error {
	if gone := t.Err(); gone != nil {
		return gone
	}
	navigated := []string{"navigated", "context", "collected", "closed"}
	if slices.ContainsFunc(navigated, func(word string) bool { return strings.Contains(err.Message, word) }) {
		return fault.New(fault.PageNavigated, "the page went elsewhere during the call").Because(err)
	}
	return fault.New(fault.PageAnswerInvalid, "the browser refused the call").Because(err)
}

// text returns the string as a JSON value.
func text(s string) jsonv2.Value {
	raw, err := json.Marshal(s)
	if err != nil {
		return jsonv2.Value(`""`) // Never: a string always has a JSON form.
	}
	return raw
}

// readAnswer reads what the page runtime answered: page data, whoever wrote it.
func readAnswer(result runtime.CallFunctionOnResult, out any) error {
	if result.ExceptionDetails != nil {
		return fault.New(fault.PageAnswerInvalid, "the page runtime threw: %s", thrown(result.ExceptionDetails))
	}
	var body string
	if result.Result == nil || json.Unmarshal(result.Result.Value, &body) != nil {
		return fault.New(fault.PageAnswerInvalid, "the page answered something that is no text")
	}
	if len(body) > maxAnswer {
		return fault.New(fault.PageAnswerInvalid, "the page answered %d bytes, more than %d", len(body), maxAnswer)
	}
	var answer struct {
		OK      *bool           `json:"ok"`
		Value   json.RawMessage `json:"value"`
		Reason  fault.Reason    `json:"reason"`
		Message string          `json:"message"`
		Field   string          `json:"field"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.OK == nil {
		return fault.New(fault.PageAnswerInvalid, "the page answered something that is no answer").Because(err)
	}
	if !*answer.OK {
		known := slices.ContainsFunc(fault.Reasons(), func(e fault.Entry) bool { return e.Reason == answer.Reason })
		if !known {
			return fault.New(fault.PageAnswerInvalid, "the page gave the unknown reason %q", cut(string(answer.Reason)))
		}
		return fault.New(answer.Reason, "%s", cut(answer.Message)).At(cut(answer.Field))
	}
	if out == nil || len(answer.Value) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer.Value, out); err != nil {
		return fault.New(fault.PageAnswerInvalid, "the page's answer has a wrong shape").Because(err)
	}
	return nil
}

func thrown(e *runtime.ExceptionDetails) string {
	if e.Exception != nil && e.Exception.Description != "" {
		first, _, _ := strings.Cut(e.Exception.Description, "\n")
		return cut(first)
	}
	return cut(e.Text)
}

// cut makes a text of the page fit for an error.
func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	count := 0
	for i := range s {
		if count++; count > maxMessage {
			return s[:i]
		}
	}
	return s
}
