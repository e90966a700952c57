package botstar

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// BotID is the id of a bot. The ids of live bots are strings; a hub types them
// as numbers, so a number is accepted and read as its digits.
type BotID string

// UnmarshalJSON reads a string or a number.
func (id *BotID) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte(`"`)) {
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return err //nolint:wrapcheck // json says what is wrong.
		}
		*id = BotID(text)
		return nil
	}
	var number json.Number
	if err := json.Unmarshal(data, &number); err != nil {
		return err //nolint:wrapcheck // json says what is wrong.
	}
	*id = BotID(number)
	return nil
}

// ListIDsIn is the input of botstar.app.list_ids.
type ListIDsIn struct {
	// BotID keeps the bot with the id; it wins over BotName.
	BotID BotID `json:"bot_id,omitempty"`
	// BotName keeps the bots with the name, in any case.
	BotName string `json:"bot_name,omitempty"`
}

// ListIDsOut is the output of botstar.app.list_ids.
type ListIDsOut struct {
	AppIDs []string `json:"app_ids"`
	Bots   []Bot    `json:"bots"`
}

// Bot is one bot of the configuration, in the hub's spelling.
type Bot struct {
	AppID string `json:"appId"`
	BotID string `json:"botId"`
	Name  string `json:"name"`
}

const listInput = `{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "bot_id": {"type": ["string", "integer"], "maxLength": 256, "description": "Keeps the bot with the id. It wins over bot_name. A number is read as its digits, since a hub types it so."},
    "bot_name": {"type": "string", "maxLength": 250, "description": "Keeps the bots with the name, in any case."}
  }
}`

func listIDs() actions.Spec {
	spec := actions.Spec{
		Name:        "botstar.app.list_ids",
		Title:       "Get application IDs",
		Description: "Lists the app ids of the configured sites, with their bots. An id that several sites share is listed once.",
		Aliases: names("Get application IDs", hubName("Get BotStar Application IDs"),
			slug("BOTSTAR_GET_BOT_APP_ID", "")),
		Scope: event.ClassRead, Plane: actions.PlaneLocal, Idempotent: true,
		Timeout:      bounds(5*time.Second, 30*time.Second),
		Verification: "Every id has the form of an app id, and passes the filter.",
		Reasons:      []fault.Reason{fault.SchemaViolation},
		InputSchema:  json.RawMessage(listInput),
	}
	return actions.New(spec, runListIDs, verifyListIDs)
}

func runListIDs(_ context.Context, env actions.Env, in ListIDsIn) (actions.Done[ListIDsOut], error) {
	out := ListIDsOut{AppIDs: []string{}, Bots: []Bot{}}
	listed := map[string]bool{}
	for _, site := range env.Sites() {
		if site.Provider != name || listed[site.AppID] {
			continue
		}
		bot := Bot{AppID: site.AppID, BotID: firstOf(site.BotID, site.AppID), Name: firstOf(site.BotName, site.Name)}
		if !in.keeps(bot) {
			continue
		}
		listed[site.AppID] = true
		out.AppIDs, out.Bots = append(out.AppIDs, bot.AppID), append(out.Bots, bot)
	}
	return actions.Done[ListIDsOut]{Output: out}, nil
}

func (in ListIDsIn) keeps(bot Bot) bool {
	switch {
	case in.BotID != "":
		return bot.BotID == string(in.BotID)
	case in.BotName != "":
		return strings.EqualFold(bot.Name, in.BotName)
	}
	return true
}

func verifyListIDs(_ context.Context, env actions.Env, in ListIDsIn, out ListIDsOut) (actions.Proof, error) {
	proof := actions.Proof{Verdict: event.Confirmed, Evidence: []event.Evidence{
		evidence(env, "record", "the sites of the configuration"),
	}}
	for _, bot := range out.Bots {
		if checkAppID(bot.AppID) != nil || !in.keeps(bot) {
			proof.Verdict = event.Contradicted
			proof.Evidence = append(proof.Evidence, evidence(env, "record", bot.AppID+" is no app id"))
		}
	}
	return proof, nil
}
