package botstar

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// The addresses of the REST API: its own, and the older one that only
// broadcasts.
const (
	apiBase   = "https://apis.botstar.com/v1"
	olderBase = "https://api2.botstar.com"
)

// The stores of a bot.
const (
	draft     = "draft"
	live      = "live"
	draftLive = "draft,live"
)

// OfBot names the bot.
type OfBot struct {
	// BotID is the id of the bot. The site's own when it is left out: its bot_id,
	// or its app_id.
	BotID string `json:"bot_id,omitempty" jsonschema:"minLength=1,maxLength=256"`
}

// ReadEnv names the store to read.
type ReadEnv struct {
	// Env is the store to read: draft, which is worked on, or live. Draft when it
	// is left out.
	Env string `json:"env,omitempty" jsonschema:"enum=draft,enum=live"`
}

// WriteEnv names the stores to change.
type WriteEnv struct {
	// Env are the stores to change: draft, or draft and live at once. Draft when it
	// is left out.
	Env string `json:"env,omitempty" jsonschema:"enum=draft,enum=draft\\,live"`
}

// stores returns the stores that a change goes to.
func (e WriteEnv) stores() []string {
	if e.Env == draftLive {
		return []string{draft, live}
	}
	return []string{draft}
}

// StatusOut is the output of a change of which BotStar says no more.
type StatusOut struct {
	// Status is success.
	Status string `json:"status"`
}

// api is BotStar's REST API as one command uses it.
type api struct {
	env actions.Env
	bot string
}

// rest returns the API of the bot that the command means.
func rest(env actions.Env, of OfBot) (api, error) {
	if env.REST == nil {
		return api{}, fault.New(fault.UnsupportedExecutor, "this worker does not speak to BotStar's REST API")
	}
	bot := firstOf(of.BotID, env.Site.BotID, env.Site.AppID)
	return api{env, bot}, checkID("bot_id", bot)
}

// checkID refuses what cannot be an id in a path.
func checkID(name, id string) error {
	if id == "" || id == "." || id == ".." || len(id) > 256 || strings.ContainsFunc(id, unicode.IsControl) {
		return fault.New(fault.SchemaViolation, "%q is no id", clip(id, 60)).At("/params/" + name)
	}
	return nil
}

// call describes a request below the bot.
func (a api) call(method string, path ...string) actions.Call {
	return actions.Call{
		Method: method, Base: firstOf(a.env.Site.RESTBase, apiBase), Path: append([]string{"bots", a.bot}, path...),
		Token: actions.AccountToken, Repeatable: method != http.MethodPost,
	}
}

// in adds the store to the call.
func in(call actions.Call, env string) actions.Call {
	query := url.Values{"env": {firstOf(env, draft)}}
	maps.Copy(query, call.Query)
	call.Query = query
	return call
}

// with adds the body to the call.
func with(call actions.Call, body any) actions.Call {
	call.Body = body
	return call
}

// do sends the call, and reads the answer into out. A read whose answer cannot
// be read is sent once more.
func (a api) do(ctx context.Context, call actions.Call, out any) (actions.Answer, error) {
	for again := call.Method == http.MethodGet; ; again = false {
		answer, err := a.env.REST.Do(ctx, a.env.Site.Name, call)
		if err != nil {
			return answer, fmt.Errorf("asking BotStar: %w", err)
		}
		if err = read(call, answer, out); err == nil || !again {
			return answer, err
		}
	}
}

// read reads an answer. What it holds beside is left alone.
func read(call actions.Call, answer actions.Answer, out any) error {
	if err := json.Unmarshal(answer.Body, out); err != nil {
		return fault.New(fault.VendorAnswerInvalid, "the answer to %s is not what BotStar documents", call).Because(err)
	}
	if named, ok := out.(interface{ whole() bool }); ok && !named.whole() {
		return fault.New(fault.VendorAnswerInvalid, "the answer to %s has no id", call)
	}
	return nil
}

// change makes a change that can be repeated, and of which BotStar says no more
// than success.
func (a api) change(ctx context.Context, call actions.Call) (StatusOut, actions.Answer, error) {
	var out StatusOut
	answer, err := a.do(ctx, call, &out)
	if err == nil && out.Status != "success" && out.Status != "ok" {
		err = fault.New(fault.VendorAnswerInvalid, "the answer to %s is the status %q", call, clip(out.Status, 60))
	}
	return StatusOut{Status: "success"}, answer, err
}

// remove deletes something. When an earlier try may have done it, it is no
// error that it is gone.
func (a api) remove(ctx context.Context, call actions.Call) (actions.Done[StatusOut], error) {
	answer, err := a.env.REST.Do(ctx, a.env.Site.Name, call)
	done := actions.Done[StatusOut]{Output: StatusOut{Status: "success"}}
	switch {
	case err == nil:
		done.Evidence = a.answered(answer)
	case reasonOf(err) == fault.VendorNotFound && (answer.Doubtful || a.env.Repeated):
		done.Evidence = []event.Evidence{evidence(a.env, "rest", "it is gone: an earlier try of this command had done it")}
	default:
		return done, fmt.Errorf("asking BotStar: %w", err)
	}
	return done, nil
}

// answered is the evidence of an answer.
func (a api) answered(answer actions.Answer) []event.Evidence {
	seen := fmt.Sprintf("BotStar answered %d", answer.Status)
	if answer.Attempts > 1 {
		seen += fmt.Sprintf(", on attempt %d", answer.Attempts)
	}
	return []event.Evidence{evidence(a.env, "rest", seen)}
}

func reasonOf(err error) fault.Reason {
	if f := fault.From(err); f != nil {
		return f.Reason
	}
	return ""
}

// creation makes something that must not be made twice.
type creation struct {
	what string // for people
	call actions.Call
	// find looks for what was made, if it was, and returns it as an answer to the
	// call would hold it. Nil means that nothing can be looked at.
	find func(ctx context.Context) (json.RawMessage, bool, error)
}

// findPauses are the times between the looks for what may have been made: fewer
// where BotStar has said that it failed.
func findPauses(failed bool) []time.Duration {
	if failed {
		return []time.Duration{0, 300 * time.Millisecond}
	}
	return []time.Duration{0, 300 * time.Millisecond, time.Second}
}

// makeTries is how often a thing is tried to be made when BotStar says that it
// failed, and it is not there.
const makeTries = 3

// create makes the thing once. When nobody knows whether it was made, it is
// looked for: it is taken for made when it is there, and made again only where
// BotStar has said that it failed, and it is not there.
func (a api) create(ctx context.Context, c creation, out any) ([]event.Evidence, error) {
	for attempt := 1; ; attempt++ {
		answer, err := a.do(ctx, c.call, out)
		again := attempt > 1 && reasonOf(err) == fault.VendorConflict
		switch {
		case err == nil:
			return a.answered(answer), nil
		case !answer.Doubtful && answer.Status/100 != 2 && !again:
			return nil, err
		case c.find == nil:
			return nil, unknown(c, "nothing can be looked at", err)
		}
		made, found, lookErr := a.seek(ctx, c, failed(answer.Status))
		switch {
		case lookErr != nil:
			return nil, unknown(c, "looking for it failed", err)
		case found:
			seen := evidence(a.env, "rest", fmt.Sprintf("the answer got lost (%s), and %s is there", reasonOf(err), c.what))
			return []event.Evidence{seen}, read(c.call, actions.Answer{Body: made}, out)
		case !failed(answer.Status):
			return nil, unknown(c, "it is not there yet", err)
		case attempt == makeTries:
			return nil, err
		}
	}
}

// failed reports whether the server itself says that it failed, and so has
// ended its work. A gateway may only have given up.
func failed(status int) bool {
	return status >= 500 && status != http.StatusBadGateway && status != http.StatusGatewayTimeout
}

func (api) seek(ctx context.Context, c creation, failed bool) (made json.RawMessage, found bool, err error) {
	for _, pause := range findPauses(failed) {
		if err := hold(ctx, pause); err != nil {
			return nil, false, err
		}
		if made, found, err = c.find(ctx); err == nil && found {
			return made, true, nil
		}
	}
	return nil, false, err
}

func unknown(c creation, why string, err error) error {
	return fault.New(fault.EffectUnknown, "nobody knows whether %s was made, and %s", c.what, why).Because(err)
}

// hold waits.
func hold(ctx context.Context, pause time.Duration) error {
	if pause == 0 {
		return ctx.Err() //nolint:wrapcheck // The caller says what it was.
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// newOnes returns a search in a list for one that was not there before. The
// elements are kept as they are.
func newOnes(ctx context.Context, list func(context.Context) ([]json.RawMessage, error), name string) (func(context.Context) (json.RawMessage, bool, error), error) {
	before, err := list(ctx)
	if err != nil {
		return nil, err
	}
	var known []string
	for _, raw := range before {
		known = append(known, labelOf(raw).key())
	}
	return func(ctx context.Context) (json.RawMessage, bool, error) {
		now, err := list(ctx)
		if err != nil {
			return nil, false, err
		}
		for _, raw := range now {
			if l := labelOf(raw); l.Name == name && !slices.Contains(known, l.key()) {
				return raw, true, nil
			}
		}
		return nil, false, nil
	}, nil
}

// label is what names an element of a list.
type label struct {
	ID   string `json:"id"`
	Old  string `json:"_id"` // The key that live accounts have been seen to use for items.
	Name string `json:"name"`
}

func (l label) key() string { return firstOf(l.ID, l.Old) }

func labelOf(raw json.RawMessage) label {
	var l label
	_ = json.Unmarshal(raw, &l) // What is no object has no label.
	return l
}

// list reads a bare array.
func (a api) list(ctx context.Context, call actions.Call) ([]json.RawMessage, error) {
	var all []json.RawMessage
	_, err := a.do(ctx, call, &all)
	return all, err
}
