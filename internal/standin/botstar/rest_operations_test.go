package botstar_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/standin/botstar"
)

// documented is one of the 26 operations as BotStar documents it: what is asked,
// and the keys of its answer. $entity and so on stand for ids.
type documented struct {
	op           botstar.Operation
	method, path string
	body         string
	// keys are those of the answer, or of the elements of the list that it is.
	keys string
	list bool
}

func operations() []documented {
	const attribute, user, field, item = "id name data_type desc value", "id name first_name last_name email birthday channel ip locale picture timezone tags otn_topics board_id", "id name fields", "id entity_id name status"
	return []documented{
		{botstar.ListBots, "GET", "/bots", "", "id name team_name", true},
		{botstar.CreateBot, "POST", "/bots", `{"name":"Vega"}`, "id name", false},
		{botstar.GetBot, "GET", "/bots/$bot", "", "id name team_name", false},
		{botstar.PublishBot, "POST", "/bots/$bot/publish", "", "status", false},
		{botstar.ListAttributes, "GET", "/bots/$bot/attributes", "", attribute, true},
		{botstar.CreateAttribute, "POST", "/bots/$bot/attributes", `{"name":"size","data_type":"number","value":7}`, attribute, false},
		{botstar.UpdateAttribute, "PATCH", "/bots/$bot/attributes/$attribute", `{"desc":"of shoes","value_es":"azul"}`, "id desc value", false},
		{botstar.GetUser, "GET", "/bots/$bot/users/$user", "", user, false},
		{botstar.UpdateUser, "PATCH", "/bots/$bot/users/$user", `{"first_name":"Eve","plan":"pro"}`, "first_name plan", false},
		{botstar.CreateUserAttribute, "POST", "/bots/$bot/users/attributes", `{"field_name":"seats","field_type":"number"}`, "id field_name field_type", false},
		{botstar.ListEntities, "GET", "/bots/$bot/cms_entities", "", field, true},
		{botstar.CreateEntity, "POST", "/bots/$bot/cms_entities", `{"name":"Tea"}`, field, false},
		{botstar.GetEntity, "GET", "/bots/$bot/cms_entities/$entity", "", field, false},
		{botstar.UpdateEntity, "PATCH", "/bots/$bot/cms_entities/$entity", `{"name":"Coffees"}`, "status", false},
		{botstar.CreateFields, "POST", "/bots/$bot/cms_entities/$entity/fields", `{"fields":[{"unique_name":"size","name":"Size","data_type":"text"}]}`, "status", false},
		{botstar.UpdateFields, "PATCH", "/bots/$bot/cms_entities/$entity/fields", `{"fields":[{"unique_name":"price","name":"Cost"}]}`, "status", false},
		{botstar.ListItems, "GET", "/bots/$bot/cms_entities/$entity/items", "", item, true},
		{botstar.CreateItem, "POST", "/bots/$bot/cms_entities/$entity/items", `{"name":"Latte","price":"4"}`, item, false},
		{botstar.GetItem, "GET", "/bots/$bot/cms_entities/$entity/items/$item", "", item + " _id price", false},
		{botstar.UpdateItem, "PATCH", "/bots/$bot/cms_entities/$entity/items/$item", `{"price":"5"}`, "status", false},
		{botstar.DeleteItem, "DELETE", "/bots/$bot/cms_entities/$entity/items/$item", "", "status", false},
		{botstar.DeleteFields, "DELETE", "/bots/$bot/cms_entities/$entity/fields?unique_names=price", "", "status", false},
		{botstar.DeleteEntity, "DELETE", "/bots/$bot/cms_entities/$entity", "", "status", false},
		{botstar.DeleteAttribute, "DELETE", "/bots/$bot/attributes/$attribute", "", "status", false},
		{botstar.SendMessage, "POST", "/messages", `{"recipient":{"id":"$friend"},"message":{"text":"Hello"}}`, "recipient_id message_id", false},
		{botstar.SendBroadcast, "POST", "https://" + botstar.OlderAPIHost + "/broadcast?token=bot-token", `{"userId":"$user","messages":[{"text":"Hello"}]}`, "statusCode", false},
	}
}

// furnish gives the bot one of everything, and returns what puts the ids in.
func (o *office) furnish() *strings.Replacer {
	o.t.Helper()
	in := "/bots/" + bot
	entity := o.id("POST", in+"/cms_entities", `{"name":"Coffee","fields":[{"unique_name":"price","name":"Price","data_type":"text"}]}`)
	return strings.NewReplacer("$bot", bot, "$entity", entity,
		"$attribute", o.id("POST", in+"/attributes", `{"name":"colour","data_type":"string","value":"red"}`),
		"$item", o.id("POST", in+"/cms_entities/"+entity+"/items", `{"name":"Mocha","price":"3"}`),
		"$user", o.api.AddUser(bot, "", map[string]any{"first_name": "Ada", "plan": "free"}), "$friend", o.api.AddUser(bot, "facebook", nil))
}

// slashed returns the path with a slash at its end.
func slashed(path string) string {
	before, query, found := strings.Cut(path, "?")
	if found {
		return before + "/?" + query
	}
	return before + "/"
}

// TestEveryOperation: each of the 26 answers as documented, in both forms of its
// path; refuses a token that is not its own, and changes nothing then.
func TestEveryOperation(t *testing.T) {
	t.Parallel()
	seen := map[botstar.Operation]bool{}
	for _, op := range operations() {
		seen[op.op] = true
		for _, slash := range []bool{false, true} {
			if slash && op.op == botstar.SendBroadcast {
				continue // The older host has one form.
			}
			o := openOffice(t)
			ids := o.furnish()
			path := ids.Replace(op.path)
			if slash {
				path = slashed(path)
			}
			before := o.api.Effects(op.op)
			o.forbidden(op, path)
			if n := o.api.Effects(op.op); n != before {
				t.Errorf("%s took effect without a token", op.op)
			}
			o.documented(op, path, ids.Replace(op.body))
			calls := o.api.Calls(op.op)
			changes := op.method != http.MethodGet
			if len(calls) == 0 || calls[len(calls)-1].Changed != changes || (o.api.Effects(op.op) == before+1) != changes {
				t.Errorf("%s is in the ledger as %+v", op.op, calls)
			}
		}
	}
	if len(seen) != 26 {
		t.Errorf("%d operations, want 26", len(seen))
	}
}

// forbidden asks with tokens that are not the operation's.
func (o *office) forbidden(op documented, path string) {
	o.t.Helper()
	bearer := "Bearer " + o.api.Token() + "x"
	if op.op == botstar.SendBroadcast {
		path = strings.Replace(path, "bot-token", o.api.Token(), 1)
	}
	status, answer := o.ask(op.method, path, `{}`, "Authorization", bearer)
	if body, _ := answer.(map[string]any); status != http.StatusUnauthorized || body["message"] == nil {
		o.t.Errorf("%s with another token is %d: %v", op.op, status, answer)
	}
}

// documented wants the answer to have the documented keys.
func (o *office) documented(op documented, path, body string) {
	o.t.Helper()
	answer := o.must(op.method, path, body)
	if all, ok := answer.([]any); op.list && ok && len(all) == 1 {
		answer = all[0]
	} else if op.list {
		o.t.Errorf("%s is no list of one: %v", op.op, answer)
	}
	got, _ := answer.(map[string]any)
	var missing []string
	for key := range strings.FieldsSeq(op.keys) {
		if _, there := got[key]; !there {
			missing = append(missing, key)
		}
	}
	if missing != nil {
		o.t.Errorf("%s answers without %v: %v", op.op, missing, slices.Sorted(maps.Keys(got)))
	}
	if status, there := got["status"]; op.keys == "status" && there && status != "success" {
		o.t.Errorf("%s has the status %v", op.op, status)
	}
}

// TestOperationsOfNoBot: below a bot that is not there nothing is found, and
// nothing is done.
func TestOperationsOfNoBot(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	ids := o.furnish()
	done := map[botstar.Operation]int{}
	for _, op := range operations() {
		done[op.op] = o.api.Effects(op.op)
	}
	for _, op := range operations() {
		if !strings.Contains(op.path, "$bot") {
			continue
		}
		path := ids.Replace(strings.Replace(op.path, "$bot", "s00000000-0000-4000-8000-000000000000", 1))
		if status, answer := o.ask(op.method, path, ids.Replace(op.body)); status != http.StatusNotFound {
			t.Errorf("%s of no bot is %d: %v", op.op, status, answer)
		}
	}
	after := map[botstar.Operation]int{}
	for op := range done {
		after[op] = o.api.Effects(op)
	}
	if diff := cmp.Diff(done, after); diff != "" {
		t.Errorf("the effects (-before +after):\n%s", diff)
	}
}
