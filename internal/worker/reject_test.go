package worker_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/worker"
)

func isUnknownType(err error) bool {
	return errors.Is(err, fault.New(fault.UnknownAction, "")) || errors.Is(err, fault.New(fault.Malformed, ""))
}

func TestLocalActionRunsWithoutAPage(t *testing.T) {
	t.Parallel()
	r := setup(t, plan{})
	result := r.succeed(order{action: "botstar.app.list_ids", alias: "BOTSTAR_GET_BOT_APP_ID", params: `{"bot_name":"shop BOT"}`})
	var out struct {
		AppIDs []string `json:"app_ids"`
	}
	must(t, json.Unmarshal(result.Output, &out))
	if len(out.AppIDs) != 1 || !result.Verified || result.Executor != "local" || len(result.Steps) != 1 {
		t.Errorf("result = %+v, output %s", result, result.Output)
	}
	if stats := r.sessions.Stats(); stats.Opened != 0 {
		t.Errorf("a local action opened %d pages", stats.Opened)
	}
}

func TestRejects(t *testing.T) {
	t.Parallel()
	r := setup(t, plan{})
	visitor := event.Visitor{UserID: "u-42"}
	listIDs := func(change func(*string, *event.Envelope)) func() (string, event.Envelope) {
		return func() (string, event.Envelope) {
			subject, e := r.command(order{action: "botstar.app.list_ids"})
			change(&subject, &e)
			return subject, e
		}
	}
	of := func(o order) func() (string, event.Envelope) {
		return func() (string, event.Envelope) { return r.command(o) }
	}
	data := func(text string) func(*string, *event.Envelope) {
		return func(_ *string, e *event.Envelope) { e.Data = json.RawMessage(text) }
	}
	tests := []struct {
		name   string
		make   func() (string, event.Envelope)
		reason fault.Reason
		field  string
	}{
		{"unknown action", of(order{action: "botstar.widget.explode"}), fault.UnknownAction, ""},
		{"unknown provider", of(order{action: "acme.widget.open"}), fault.UnknownAction, ""},
		{"unknown site", of(order{action: "botstar.app.list_ids", site: "nowhere"}), fault.UnknownSite, "/site"},
		{"another provider's site", of(order{action: "botstar.widget.open", site: "elsewhere"}), fault.UnsupportedProvider, ""},
		{"no visitor", listIDs(data(`{"site":"shop","visitor":{}}`)), fault.SchemaViolation, "/visitor"},
		{"no data", listIDs(data(``)), fault.Malformed, ""},
		{"no JSON", listIDs(data(`{"site":`)), fault.Malformed, ""},
		{"not an object", listIDs(data(`[]`)), fault.SchemaViolation, ""},
		{"prototype", listIDs(data(`{"site":"shop","visitor":{"user_id":"u-42"},"params":{"__proto__":{"a":1}}}`)), fault.SchemaViolation, ""},
		{"timeout beyond the action's", of(order{action: "botstar.app.list_ids", timeout: 90_000}), fault.SchemaViolation, "/timeout_ms"},
		{"timeout beyond everything", of(order{action: "botstar.app.list_ids", timeout: 900_000}), fault.SchemaViolation, "/timeout_ms"},
		{"alias of another action", of(order{action: "botstar.app.list_ids", alias: "BOTSTAR_LIVECHAT_OPEN"}), fault.SchemaViolation, "/alias"},
		{"unknown alias", of(order{action: "botstar.app.list_ids", alias: "nothing"}), fault.SchemaViolation, "/alias"},
		{"another visitor's subject", listIDs(func(subject *string, _ *event.Envelope) {
			*subject = event.CommandSubject(event.ClassRead, "botstar.app.list_ids", "shop", event.SessionKey("shop", event.Visitor{UserID: "u-1"}))
		}), fault.Malformed, ""},
		{"another site's subject", listIDs(func(subject *string, _ *event.Envelope) {
			*subject = event.CommandSubject(event.ClassRead, "botstar.app.list_ids", "docs", event.SessionKey("shop", visitor))
		}), fault.Malformed, ""},
		{"a write action as a read one", listIDs(func(subject *string, e *event.Envelope) {
			*subject = event.CommandSubject(event.ClassRead, "botstar.widget.open", "shop", event.SessionKey("shop", visitor))
			e.Type = event.CommandType("botstar.widget.open")
		}), fault.Malformed, ""},
		{"a type that is not the subject's", listIDs(func(_ *string, e *event.Envelope) {
			e.Type = event.CommandType("botstar.widget.open")
		}), fault.Malformed, ""},
		{"an expiry that is no time", listIDs(func(_ *string, e *event.Envelope) {
			e.Extensions[event.ExtExpiryTime] = "tomorrow"
		}), fault.Malformed, ""},
	}
	for _, test := range tests {
		subject, e := test.make()
		result := r.send(subject, e)
		if result.Status != event.Rejected || reasonOf(result) != string(test.reason) {
			t.Errorf("%s: %s %+v, want rejected %s", test.name, result.Status, result.Problem, test.reason)
			continue
		}
		if result.Problem.Field != test.field && test.field != "" {
			t.Errorf("%s: field = %q, want %q", test.name, result.Problem.Field, test.field)
		}
		if result.Problem.Fix == "" || result.Problem.Message == "" || result.CommandID != e.ID {
			t.Errorf("%s: problem without help: %+v of %s", test.name, result.Problem, result.CommandID)
		}
		r.healthy(order{})
	}
	if letters := r.dead(0); len(letters) != 0 {
		t.Errorf("%d rejected commands were buried, the first one: %+v", len(letters), letters[0])
	}
}

// TestSchemaViolations breaks every field of every action's schema.
func TestSchemaViolations(t *testing.T) {
	t.Parallel()
	r := setup(t, plan{})
	for _, spec := range r.catalog.Actions() {
		t.Run(spec.Name, func(t *testing.T) {
			t.Parallel()
			r := r.in(t)
			for name, params := range violations(t, r.schemas.Source(event.CommandType(spec.Name))) {
				result := r.do(order{action: spec.Name, params: params})
				if result.Status != event.Rejected || reasonOf(result) != string(fault.SchemaViolation) {
					t.Errorf("%s: params %s: %s %+v", name, short(params), result.Status, result.Problem)
					continue
				}
				if !strings.HasPrefix(result.Problem.Field, "/params") {
					t.Errorf("%s: the field is %q", name, result.Problem.Field)
				}
			}
			r.healthy(order{})
		})
	}
}

// violations makes parameters that break the schema of a command, by what is
// wrong with them.
func violations(t *testing.T, source json.RawMessage) map[string]string {
	t.Helper()
	var command struct {
		Properties struct {
			Params map[string]any `json:"params"`
		} `json:"properties"`
	}
	must(t, json.Unmarshal(source, &command))
	params := command.Properties.Params
	properties, _ := params["properties"].(map[string]any)
	required, _ := params["required"].([]any)
	all := map[string]string{"an array": `[]`, "a string": `"x"`}
	if params["additionalProperties"] == false {
		all["an extra key"] = object(t, properties, required, "surprise", "x")
	}
	for _, name := range required {
		key, _ := name.(string)
		rest := slices.DeleteFunc(slices.Clone(required), func(other any) bool { return other == name })
		all["without "+key] = object(t, properties, rest, "", nil)
	}
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		schema, _ := properties[key].(map[string]any)
		if wrong, ok := wrongType(schema); ok {
			all["wrong type of "+key] = object(t, properties, required, key, wrong)
		}
	}
	return all
}

// wrongType returns a value that the schema's type does not allow.
func wrongType(schema map[string]any) (any, bool) {
	if schema["type"] == nil {
		return nil, false
	}
	types := fmt.Sprint(schema["type"])
	for _, candidate := range []struct {
		name  string
		value any
	}{{"array", []any{map[string]any{}}}, {"boolean", true}, {"object", map[string]any{"x": []any{}}}} {
		if !strings.Contains(types, candidate.name) {
			return candidate.value, true
		}
	}
	return nil, false
}

// object makes parameters with the required fields, and one more.
func object(t *testing.T, properties map[string]any, required []any, key string, value any) string {
	t.Helper()
	params := map[string]any{}
	for _, name := range required {
		field, _ := name.(string)
		schema, _ := properties[field].(map[string]any)
		params[field] = "x"
		if options, ok := schema["enum"].([]any); ok {
			params[field] = options[0]
		}
	}
	if key != "" {
		params[key] = value
	}
	raw, err := json.Marshal(params)
	must(t, err)
	return string(raw)
}

func short(text string) string { return text[:min(len(text), 200)] }

func TestUnreadableMessagesAreBuried(t *testing.T) {
	t.Parallel()
	r := setup(t, plan{})
	subject, e := r.command(order{action: "botstar.app.list_ids"})
	e.Type = "" // No CloudEvent has no type.
	_, err := r.bus.Publish(t.Context(), subject, e)
	must(t, err)
	_, e = r.command(order{action: "botstar.app.list_ids"})
	e.Data = bytes.ReplaceAll(e.Data, []byte("u-42"), []byte("u-\xff\xfe"))
	_, err = r.bus.Publish(t.Context(), subject, e)
	must(t, err)
	for _, letter := range r.dead(2) {
		if got := letter.Problem.Reason; got != string(fault.Malformed) {
			t.Errorf("buried as %s: %s", got, letter.Problem.Message)
		}
	}
	r.healthy(order{})
}

func TestTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	r := setup(t, plan{})
	subject, e := r.command(order{action: "botstar.app.list_ids"})
	e.Data = bytes.Replace(e.Data, []byte("u-42"), bytes.Repeat([]byte("u"), 3<<20), 1)
	if _, err := r.bus.Publish(t.Context(), subject, e); !errors.Is(err, fault.New(fault.TooLarge, "")) {
		t.Errorf("publishing 3 MiB: %v", err)
	}
	_, e = r.command(order{action: "botstar.app.list_ids"})
	e.Data = append(e.Data, bytes.Repeat([]byte(" "), 65<<10)...)
	switch result, err := r.trySend(subject, e); {
	case errors.Is(err, fault.New(fault.TooLarge, "")): // The queue refuses it first.
	case err != nil:
		t.Error(err)
	case result.Status != event.Rejected || reasonOf(result) != string(fault.TooLarge):
		t.Errorf("a large command: %s %+v", result.Status, result.Problem)
	}
	r.healthy(order{})
}

func TestExpired(t *testing.T) {
	t.Parallel()
	r := setup(t, plan{})
	for _, action := range []string{"botstar.app.list_ids", "botstar.widget.open"} {
		result := r.do(order{action: action, expiry: time.Now().Add(-time.Minute)})
		if result.Status != event.Expired || reasonOf(result) != string(fault.CommandExpired) {
			t.Errorf("%s: %s %+v", action, result.Status, result.Problem)
		}
	}
	for _, letter := range r.dead(2) {
		if letter.Problem.Reason != string(fault.CommandExpired) {
			t.Errorf("buried as %+v", letter.Problem)
		}
	}
	r.succeed(order{action: "botstar.app.list_ids", expiry: time.Now().Add(time.Minute)})
}

// TestTakesOnlyItsActions runs a worker that takes some actions, and refuses a
// pattern that is none.
func TestTakesOnlyItsActions(t *testing.T) {
	t.Parallel()
	r := setup(t, plan{worker: worker.Options{Actions: []string{"botstar.app.*"}}})
	r.succeed(order{action: "botstar.app.list_ids"})
	subject, e := r.command(order{action: "botstar.widget.explode"})
	if _, err := r.bus.Publish(t.Context(), subject, e); err != nil {
		t.Fatal(err)
	}
	r.succeed(order{action: "botstar.app.list_ids"})
	if all := r.ran(e.ID); len(all) != 0 {
		t.Errorf("the worker took another action: %+v", all)
	}
	o := r.options
	o.Actions = []string{"botstar"}
	if err := worker.New(r.log, o).Run(t.Context()); !errors.Is(err, fault.New(fault.UnknownAction, "")) {
		t.Errorf("a worker with a bad pattern: %v", err)
	}
}
