//go:build browser

package app

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/event"
)

// TestDevREST drives the stand-in's REST API through the bus, as an operator
// does: without a visitor, and under the vendor's real host names.
func TestDevREST(t *testing.T) {
	t.Parallel()
	r := startRig(t)
	code, bots := r.send("botstar.bots.list")
	if code != 0 || !bots.Verified || bots.Executor != "rest" || !strings.Contains(string(bots.Output), `"bot-shop"`) {
		t.Fatalf("bots.list ended with %d: %s %+v", code, bots.Output, bots.Problem)
	}
	code, ids := r.send("BOTSTAR_GET_BOT_APP_ID", "--param", "bot_name=shop assistant")
	if code != 0 || !strings.Contains(string(ids.Output), "s0a1b2c3d-0000-4000-8000-000000000001") || !strings.Contains(string(ids.Output), `"bot-shop"`) {
		t.Errorf("the app ids ended with %d: %s", code, ids.Output)
	}
	code, entity := r.send("Create CMS Entity", "--param", "name=Coffee", "--param", `fields:=[{"unique_name":"price","name":"Price","data_type":"text"}]`)
	if code != 0 || !entity.Verified {
		t.Fatalf("the entity ended with %d: %+v", code, entity.Problem)
	}
	var made struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(entity.Output, &made); err != nil {
		t.Fatal(err)
	}
	code, item := r.send("botstar.cms_items.create", "--param", "entity_id="+made.ID, "--param", "name=Mocha", "--param", `data:={"price":"3"}`)
	if code != 0 || !item.Verified {
		t.Errorf("the item ended with %d: %+v", code, item.Problem)
	}
	code, refused := r.send("botstar.cms_items.create", "--param", "entity_id="+made.ID, "--param", "name=Mocha", "--param", `data:={"prize":"3"}`)
	if code == 0 || refused.Status != event.Rejected || refused.Problem.Reason != "vendor_rejects" || !strings.Contains(refused.Problem.Message, "prize") {
		t.Errorf("a field that is not there ended with %d: %+v", code, refused.Problem)
	}
}
