package botstar_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
)

// How an action behaves when nobody knows whether it took effect.
const (
	reads   = "reads"   // It is sent again, and changes nothing.
	repeats = "repeats" // It is sent again, which changes nothing more.
	finds   = "finds"   // It is not sent again; its effect is looked for.
	blind   = "blind"   // It is not sent again, and nothing can be looked at.
)

// operation is one of the 26, as the tests drive it.
type operation struct {
	action string
	op     vendor.Operation
	kind   string
	proof  event.Verdict
	params func(id map[string]string) map[string]any
}

func operations() []operation {
	type m = map[string]any
	field := func(name string) []any { return []any{m{"unique_name": name, "name": "Size", "data_type": "text"}} }
	return []operation{
		{"bots.list", vendor.ListBots, reads, event.Confirmed, func(map[string]string) m { return m{} }},
		{"bots.create", vendor.CreateBot, finds, event.Confirmed, func(map[string]string) m { return m{"name": "Nova"} }},
		{"bots.get", vendor.GetBot, reads, event.Confirmed, func(map[string]string) m { return m{} }},
		{"bots.publish", vendor.PublishBot, repeats, event.Confirmed, func(map[string]string) m { return m{} }},
		{"bot_attributes.list", vendor.ListAttributes, reads, event.Confirmed, func(map[string]string) m { return m{"env": "live"} }},
		{"bot_attributes.create", vendor.CreateAttribute, finds, event.Confirmed, func(map[string]string) m {
			return m{"name": "size", "data_type": "number", "value": 7, "desc": "of shoes", "localized_values": m{"es": "siete"}, "env": "draft,live"}
		}},
		{"bot_attributes.update", vendor.UpdateAttribute, repeats, event.Confirmed, func(id map[string]string) m {
			return m{"attribute_id": id["attribute"], "value": "blue", "localized_values": m{"es": "azul"}, "env": "draft,live"}
		}},
		{"bot_attributes.delete", vendor.DeleteAttribute, repeats, event.Confirmed, func(id map[string]string) m {
			return m{"attribute_id": id["attribute"], "env": "draft,live"}
		}},
		{"users.get", vendor.GetUser, reads, event.Confirmed, func(id map[string]string) m { return m{"user_id": id["user"]} }},
		{"users.update", vendor.UpdateUser, repeats, event.Confirmed, func(id map[string]string) m {
			return m{"user_id": id["user"], "attributes": m{"plan": "pro", "last_name": "Lovelace", "birthday": "1815-12-10"}}
		}},
		{"user_attributes.create", vendor.CreateUserAttribute, blind, event.Confirmed, func(id map[string]string) m {
			return m{"field_name": "seats", "field_type": "number", "test_user_id": id["user"]}
		}},
		{"cms_entities.list", vendor.ListEntities, reads, event.Confirmed, func(map[string]string) m { return m{} }},
		{"cms_entities.create", vendor.CreateEntity, finds, event.Confirmed, func(map[string]string) m {
			return m{"name": "Coffee", "fields": field("size"), "env": "draft,live"}
		}},
		{"cms_entities.get", vendor.GetEntity, reads, event.Confirmed, func(id map[string]string) m { return m{"entity_id": id["entity"]} }},
		{"cms_entities.update", vendor.UpdateEntity, repeats, event.Confirmed, func(id map[string]string) m {
			return m{"entity_id": id["entity"], "name": "Tea", "env": "draft,live"}
		}},
		{"cms_entities.delete", vendor.DeleteEntity, repeats, event.Confirmed, func(id map[string]string) m {
			return m{"entity_id": id["entity"], "env": "draft,live"}
		}},
		{"cms_fields.create", vendor.CreateFields, finds, event.Confirmed, func(id map[string]string) m {
			return m{"entity_id": id["entity"], "fields": field("size"), "env": "draft,live"}
		}},
		{"cms_fields.update", vendor.UpdateFields, repeats, event.Confirmed, func(id map[string]string) m {
			return m{"entity_id": id["entity"], "fields": field("price")}
		}},
		{"cms_fields.delete", vendor.DeleteFields, repeats, event.Confirmed, func(id map[string]string) m {
			return m{"entity_id": id["entity"], "unique_names": []any{"price", "notes"}, "env": "draft,live"}
		}},
		{"cms_items.list", vendor.ListItems, reads, event.Confirmed, func(id map[string]string) m { return m{"entity_id": id["entity"], "limit": 5} }},
		{"cms_items.create", vendor.CreateItem, finds, event.Confirmed, func(id map[string]string) m {
			return m{"entity_id": id["entity"], "name": "Mocha", "status": "disabled", "data": m{"price": "4", "notes": []any{"hot", "sweet"}}}
		}},
		{"cms_items.get", vendor.GetItem, reads, event.Confirmed, func(id map[string]string) m {
			return m{"entity_id": id["entity"], "item_id": id["item"], "env": "live"}
		}},
		{"cms_items.update", vendor.UpdateItem, repeats, event.Confirmed, func(id map[string]string) m {
			return m{"entity_id": id["entity"], "item_id": id["item"], "name": "Latte", "data": m{"price": "5", "notes": []any{}}, "env": "draft,live"}
		}},
		{"cms_items.delete", vendor.DeleteItem, repeats, event.Confirmed, func(id map[string]string) m {
			return m{"entity_id": id["entity"], "item_id": id["item"], "env": "draft,live"}
		}},
		{"messages.send", vendor.SendMessage, blind, event.Unverifiable, func(id map[string]string) m {
			return m{"recipient_id": id["friend"], "message": m{"text": "Hello"}, "message_tag": "ACCOUNT_UPDATE"}
		}},
		{"messages.broadcast", vendor.SendBroadcast, blind, event.Unverifiable, func(id map[string]string) m {
			return m{"user_id": id["user"], "messages": []any{m{"text": "Hello"}}}
		}},
	}
}

// scenario is something that happens to an operation's call, and what comes of
// it, by the operation's kind: the failure, "" for success, and the effects.
type scenario struct {
	name   string
	faults []vendor.RESTFault
	want   map[string]outcome
}

type outcome struct {
	reason  fault.Reason
	effects int // of a change
	calls   int // 0 is not counted
}

func every(o outcome) map[string]outcome {
	all := map[string]outcome{}
	for _, kind := range []string{reads, repeats, finds, blind} {
		all[kind] = o
	}
	return all
}

// scenarios are what can happen. The vendor repeats the token of the call, as a
// careless one would.
func scenarios(token string) []scenario {
	status := func(code int) vendor.RESTFault {
		return vendor.RESTFault{Status: code, Says: "not so, with " + token + " you cannot"}
	}
	return []scenario{
		{"success", nil, every(outcome{"", 1, 1})},
		{"400", []vendor.RESTFault{status(400)}, every(outcome{fault.VendorRejects, 0, 1})},
		{"401", []vendor.RESTFault{status(401)}, every(outcome{fault.TokenRefused, 0, 1})},
		{"403", []vendor.RESTFault{status(403)}, every(outcome{fault.VendorForbids, 0, 1})},
		{"404", []vendor.RESTFault{status(404)}, every(outcome{fault.VendorNotFound, 0, 1})},
		{"422", []vendor.RESTFault{status(422)}, every(outcome{fault.VendorRejects, 0, 1})},
		{"redirect", []vendor.RESTFault{{Status: 307, Location: "https://elsewhere.example.test/"}}, every(outcome{fault.VendorAnswerInvalid, 0, 1})},
		{"429 once", []vendor.RESTFault{status(429)}, every(outcome{"", 1, 2})},
		{"429 always", slices.Repeat([]vendor.RESTFault{status(429)}, 9), every(outcome{fault.RateLimited, 0, 4})},
		{"500 once", []vendor.RESTFault{status(500)}, map[string]outcome{
			reads: {"", 0, 2}, repeats: {"", 1, 2}, finds: {"", 1, 2}, blind: {fault.EffectUnknown, 0, 1},
		}},
		{"503 always", slices.Repeat([]vendor.RESTFault{status(503)}, 9), map[string]outcome{
			reads: {fault.VendorUnavailable, 0, 4}, repeats: {fault.VendorUnavailable, 0, 4},
			finds: {fault.VendorUnavailable, 0, 3}, blind: {fault.EffectUnknown, 0, 1},
		}},
		{"500 after it was done", []vendor.RESTFault{{Late: 500}}, map[string]outcome{
			reads: {"", 0, 2}, repeats: {"", 0, 2}, finds: {"", 1, 1}, blind: {fault.EffectUnknown, 1, 1},
		}},
		{"no answer after it was done", []vendor.RESTFault{{Lost: true}}, map[string]outcome{
			reads: {"", 0, 2}, repeats: {"", 0, 2}, finds: {"", 1, 1}, blind: {fault.EffectUnknown, 1, 1},
		}},
		{"no answer, and nothing done", []vendor.RESTFault{{Silent: true}}, map[string]outcome{
			reads: {"", 0, 2}, repeats: {"", 1, 2}, finds: {fault.EffectUnknown, 0, 1}, blind: {fault.EffectUnknown, 0, 1},
		}},
		{"half an answer", []vendor.RESTFault{{Cut: true}}, map[string]outcome{
			reads: {"", 0, 2}, repeats: {"", 0, 2}, finds: {"", 1, 1}, blind: {fault.EffectUnknown, 1, 1},
		}},
		{"no JSON", []vendor.RESTFault{{Body: "<html>" + token}}, map[string]outcome{
			reads: {"", 0, 2}, repeats: {fault.VendorAnswerInvalid, 1, 1}, finds: {"", 1, 1}, blind: {fault.EffectUnknown, 1, 1},
		}},
		{"no JSON at all", slices.Repeat([]vendor.RESTFault{{Body: `[{"id":`}}, 2), map[string]outcome{
			reads: {fault.VendorAnswerInvalid, 0, 2}, repeats: {fault.VendorAnswerInvalid, 1, 1}, finds: {"", 1, 1}, blind: {fault.EffectUnknown, 1, 1},
		}},
		{"JSON of another kind", []vendor.RESTFault{{Body: `"` + token + `"`}}, map[string]outcome{
			reads: {"", 0, 2}, repeats: {fault.VendorAnswerInvalid, 1, 1}, finds: {"", 1, 1}, blind: {fault.EffectUnknown, 1, 1},
		}},
	}
}

// TestOperations has everything happen to every operation. What matters is
// counted by the vendor: nothing is done twice that must not be.
func TestOperations(t *testing.T) {
	t.Parallel()
	if n := len(operations()); n != 26 {
		t.Fatalf("there are %d operations, want 26", n)
	}
	for _, op := range operations() {
		token := canary
		if op.op == vendor.SendBroadcast {
			token = new(vendor.REST).BotToken()
		}
		for _, sc := range scenarios(token) {
			t.Run(op.action+"/"+sc.name, func(t *testing.T) {
				t.Parallel()
				a := connect(t, actions.RESTOptions{})
				ids := a.furnish()
				before := a.api.Effects(op.op)
				calls := len(a.api.Calls(op.op))
				if strings.HasPrefix(sc.name, "no answer") {
					a.quick(300 * time.Millisecond)
				}
				a.api.Set(vendor.RESTFaults{Plan: map[vendor.Operation][]vendor.RESTFault{op.op: sc.faults}})
				c, err := a.do(op.action, op.params(ids))
				want := sc.want[op.kind]
				got := outcome{effects: a.api.Effects(op.op) - before, calls: len(a.api.Calls(op.op)) - calls}
				if err != nil {
					got.reason = fault.From(err).Reason
				} else if c.Proof.Verdict != op.proof {
					t.Errorf("the verdict is %s: %+v", c.Proof.Verdict, c.Proof.Evidence)
				}
				switch {
				case op.kind == reads:
					want.effects = 0
				case strings.HasSuffix(op.action, ".delete") && want.reason == fault.VendorAnswerInvalid && want.effects == 1:
					want.reason = "" // What a deletion answers is documented nowhere: its read-back counts.
				case op.kind == repeats && want.effects == 0 && want.reason == "":
					got.effects = 0 // Once or twice: the second one changes nothing more.
				}
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(outcome{})); diff != "" {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
			})
		}
	}
}

// quick replaces the client by one that waits less for an answer.
func (a *account) quick(timeout time.Duration) {
	a.client = actions.NewREST(a.env.Log, actions.RESTOptions{
		Tokens: a.tokens, Resolve: a.server.Resolve(), Roots: a.server.Roots(), Pause: time.Millisecond, Timeout: timeout,
	})
	a.t.Cleanup(a.client.Close)
	a.env.REST = a.client
}

// TestEveryActionOfTheTable compares the catalogue with the table of the
// contract: rows 12 to 38.
func TestEveryActionOfTheTable(t *testing.T) {
	t.Parallel()
	var have []string
	for _, spec := range botstar.Provider().Actions {
		if spec.Plane == actions.PlaneREST {
			have = append(have, strings.TrimPrefix(spec.Name, "botstar."))
			if spec.Scope == event.ClassRead && !spec.Idempotent {
				t.Errorf("%s reads, and is not idempotent", spec.Name)
			}
		}
	}
	var want []string
	for _, op := range operations() {
		want = append(want, op.action)
	}
	slices.Sort(have)
	slices.Sort(want)
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("the actions (-want +got):\n%s", diff)
	}
}

// TestInputs holds what is refused before anything is sent.
func TestInputs(t *testing.T) {
	t.Parallel()
	type m = map[string]any
	tests := []struct {
		action string
		params m
		reason fault.Reason
		field  string
	}{
		{"bots.get", m{"bot_id": ".."}, fault.SchemaViolation, "/params/bot_id"},
		{"bots.get", m{"bot_id": "a\nb"}, fault.SchemaViolation, "/params/bot_id"},
		{"bot_attributes.update", m{"attribute_id": "x"}, fault.NoAttributes, "/params"},
		{"bot_attributes.update", m{"attribute_id": "x", "value": true}, fault.SchemaViolation, "/params/value"},
		{"bot_attributes.update", m{"attribute_id": "x", "localized_values": m{"e/s": "x"}}, fault.SchemaViolation, "/params/localized_values/e~1s"},
		{"bot_attributes.update", m{"attribute_id": "x", "localized_values": m{"es": []any{}}}, fault.SchemaViolation, "/params/localized_values/es"},
		{"users.get", m{}, fault.SchemaViolation, "/params/user_id"},
		{"users.update", m{"user_id": "x", "attributes": m{}}, fault.NoAttributes, "/params/attributes"},
		{"users.update", m{"user_id": "x", "attributes": m{"tags": "a"}}, fault.SchemaViolation, "/params/attributes/tags"},
		{"users.update", m{"user_id": "x", "attributes": m{"plan": nil}}, fault.SchemaViolation, "/params/attributes/plan"},
		{"cms_items.create", m{"entity_id": "e", "name": "n", "data": m{"name": "x"}}, fault.SchemaViolation, "/params/data/name"},
		{"cms_items.create", m{"entity_id": "e", "name": "n", "data": m{"status": "x"}}, fault.SchemaViolation, "/params/data/status"},
		{"cms_items.create", m{"entity_id": "e", "name": "n", "data": m{"x": m{}}}, fault.SchemaViolation, "/params/data/x"},
		{"cms_items.update", m{"entity_id": "e", "item_id": "i"}, fault.NoAttributes, "/params"},
		{"cms_items.get", m{"entity_id": "e", "item_id": "."}, fault.SchemaViolation, "/params/item_id"},
		{"cms_fields.create", m{"entity_id": "e", "fields": []any{m{"unique_name": "status", "name": "S", "data_type": "text"}}}, fault.SchemaViolation, "/params/fields/0/unique_name"},
		{"cms_fields.create", m{"entity_id": "e", "fields": []any{m{"unique_name": "x"}}}, fault.SchemaViolation, "/params/fields/0"},
		{"cms_fields.update", m{"entity_id": "e", "fields": []any{m{"unique_name": "a,b"}}}, fault.SchemaViolation, "/params/fields/0/unique_name"},
		{"cms_fields.delete", m{"entity_id": "e", "unique_names": []any{"status"}}, fault.SchemaViolation, "/params/unique_names/0"},
		{"messages.send", m{"recipient_id": "x", "message": m{"text": ""}}, fault.SchemaViolation, "/params/message/text"},
		{"messages.broadcast", m{"user_id": "x", "messages": []any{m{}}}, fault.SchemaViolation, "/params/messages/0"},
	}
	a := connect(t, actions.RESTOptions{})
	for _, tt := range tests {
		_, err := a.do(tt.action, tt.params)
		if f := fault.From(err); f == nil || f.Reason != tt.reason || f.Field != tt.field {
			t.Errorf("%s %v = %v at %q, want %s at %q", tt.action, tt.params, err, fault.From(err).Field, tt.reason, tt.field)
		}
	}
	if calls := a.api.Calls(""); len(calls) != 0 {
		t.Errorf("%d calls reached the vendor: %+v", len(calls), calls)
	}
}

// TestPathsAreEncoded sends ids that would change a path.
func TestPathsAreEncoded(t *testing.T) {
	t.Parallel()
	a := connect(t, actions.RESTOptions{})
	for _, id := range []string{"../bots", "a/b?env=live#x", "%2e%2e", "ä ö"} {
		_, err := a.do("cms_items.get", map[string]any{"entity_id": "e", "item_id": id})
		if f := fault.From(err); f == nil || f.Reason != fault.VendorNotFound {
			t.Errorf("item %q: %v", id, err)
		}
		calls := a.api.Calls(vendor.GetItem)
		if want := fmt.Sprintf("/v1/bots/%s/cms_entities/e/items/%s", restBot, id); len(calls) == 0 || calls[len(calls)-1].Path != want {
			t.Errorf("item %q was asked for as %+v", id, calls)
		}
	}
}

// TestBothIDs reads an item of a live account, which has been seen to use _id.
func TestBothIDs(t *testing.T) {
	t.Parallel()
	a := connect(t, actions.RESTOptions{})
	ids := a.furnish()
	body := fmt.Sprintf(`{"_id":%q,"name":"Mocha","unheard_of":{"deep":[1]}}`, ids["item"])
	a.api.Set(vendor.RESTFaults{Plan: map[vendor.Operation][]vendor.RESTFault{vendor.GetItem: {{Body: body}}}})
	out := a.must(event.Confirmed, "cms_items.get", map[string]any{"entity_id": ids["entity"], "item_id": ids["item"]})
	if out["id"] != ids["item"] || out["unheard_of"] == nil {
		t.Errorf("the item is %v", out)
	}
}

// TestContradictions: BotStar says success, and its read-back says otherwise.
func TestContradictions(t *testing.T) {
	t.Parallel()
	type m = map[string]any
	a := connect(t, actions.RESTOptions{})
	ids := a.furnish()
	tests := []struct {
		action, lie string
		op          vendor.Operation
		params      m
	}{
		{"users.update", `{"first_name":"Eve"}`, vendor.UpdateUser, m{"user_id": ids["user"], "attributes": m{"first_name": "Eve"}}},
		{"cms_items.update", `{"status":"success"}`, vendor.UpdateItem, m{"entity_id": ids["entity"], "item_id": ids["item"], "name": "Latte"}},
		{"cms_items.delete", `{"status":"success"}`, vendor.DeleteItem, m{"entity_id": ids["entity"], "item_id": ids["item"]}},
		{"cms_entities.update", `{"status":"ok"}`, vendor.UpdateEntity, m{"entity_id": ids["entity"], "name": "Tea"}},
		{"bot_attributes.delete", `{}`, vendor.DeleteAttribute, m{"attribute_id": ids["attribute"]}},
	}
	for _, tt := range tests {
		a.api.Set(vendor.RESTFaults{Plan: map[vendor.Operation][]vendor.RESTFault{tt.op: {{Hollow: tt.lie}}}})
		c, err := a.do(tt.action, tt.params)
		if err != nil || c.Proof.Verdict != event.Contradicted {
			t.Errorf("%s is %s (%v): %+v", tt.action, c.Proof.Verdict, err, c.Proof.Evidence)
		}
	}
}

// TestReadBackThatFails proves nothing.
func TestReadBackThatFails(t *testing.T) {
	t.Parallel()
	a := connect(t, actions.RESTOptions{})
	ids := a.furnish()
	a.api.Set(vendor.RESTFaults{Plan: map[vendor.Operation][]vendor.RESTFault{
		vendor.GetItem: slices.Repeat([]vendor.RESTFault{{Status: 400}}, 50),
	}})
	c, err := a.do("cms_items.update", map[string]any{"entity_id": ids["entity"], "item_id": ids["item"], "name": "Latte"})
	if err != nil || c.Proof.Verdict != event.Unconfirmed || a.api.Effects(vendor.UpdateItem) != 1 {
		t.Errorf("it is %s (%v), with %d effects: %+v", c.Proof.Verdict, err, a.api.Effects(vendor.UpdateItem), c.Proof.Evidence)
	}
}

// TestPaging reads items page by page.
func TestPaging(t *testing.T) {
	t.Parallel()
	a := connect(t, actions.RESTOptions{})
	ids := a.furnish()
	for i := range 6 {
		a.must(event.Confirmed, "cms_items.create", map[string]any{"entity_id": ids["entity"], "name": fmt.Sprintf("Item %d", i)})
	}
	var names []string
	for page := 1; ; page++ {
		c, err := a.do("cms_items.list", map[string]any{"entity_id": ids["entity"], "limit": 3, "page": page})
		if err != nil {
			t.Fatal(err)
		}
		var out botstar.ListItemsOut
		if err := json.Unmarshal(c.Output, &out); err != nil {
			t.Fatal(err)
		}
		for _, item := range out.Items {
			names = append(names, item["name"].(string)) //nolint:forcetypeassert // The test fails then.
		}
		if !out.More {
			break
		}
	}
	want := []string{"Mocha", "Item 0", "Item 1", "Item 2", "Item 3", "Item 4", "Item 5"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("the items (-want +got):\n%s", diff)
	}
}

// TestWithoutREST: no client, or no token.
func TestWithoutREST(t *testing.T) {
	t.Parallel()
	a := connect(t, actions.RESTOptions{})
	a.tokens.account = ""
	if _, err := a.do("bots.list", nil); fault.From(err).Reason != fault.TokenMissing {
		t.Errorf("without a token: %v", err)
	}
	a.env.REST = nil
	if _, err := a.do("bots.list", nil); fault.From(err).Reason != fault.UnsupportedExecutor {
		t.Errorf("without a client: %v", err)
	}
}

// TestDeleteAgain: a command that an earlier worker began finds that it is done.
func TestDeleteAgain(t *testing.T) {
	t.Parallel()
	a := connect(t, actions.RESTOptions{})
	ids := a.furnish()
	params := map[string]any{"entity_id": ids["entity"], "item_id": ids["item"], "env": "draft,live"}
	a.must(event.Confirmed, "cms_items.delete", params)
	if _, err := a.do("cms_items.delete", params); fault.From(err).Reason != fault.VendorNotFound {
		t.Errorf("deleting what is not there: %v", err)
	}
	a.env.Repeated = true
	a.must(event.Confirmed, "cms_items.delete", params)
}
