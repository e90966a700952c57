package botstar

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
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
		Name:  "botstar.app.list_ids",
		Title: "Get application IDs",
		Description: "Lists app ids with their bots: of the account, by BotStar's REST API, where the command's site has a token; else of the " +
			"configured sites. BotStar does not tell the app id of a bot: it is taken from the site that names the bot, else it is the bot's id. " +
			"An id that several sites share is listed once.",
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

func runListIDs(ctx context.Context, env actions.Env, in ListIDsIn) (actions.Done[ListIDsOut], error) {
	done := actions.Done[ListIDsOut]{Output: ListIDsOut{AppIDs: []string{}, Bots: []Bot{}}}
	bots := configured(env)
	if env.REST != nil && env.REST.Ready(ctx, env.Site.Name, actions.AccountToken) {
		account, err := ofAccount(ctx, env)
		if err != nil {
			done.Advice = "these are the sites of the configuration, since BotStar's REST API could not be asked: " + err.Error()
		} else {
			bots = account
			done.Evidence = []event.Evidence{evidence(env, "rest", fmt.Sprintf("BotStar lists %d bot(s) of the account", len(bots)))}
		}
	}
	listed := map[string]bool{}
	for _, bot := range bots {
		if listed[bot.AppID] || !in.keeps(bot) {
			continue
		}
		listed[bot.AppID] = true
		done.Output.AppIDs, done.Output.Bots = append(done.Output.AppIDs, bot.AppID), append(done.Output.Bots, bot)
	}
	return done, nil
}

// configured returns the bots of the configuration.
func configured(env actions.Env) []Bot {
	var bots []Bot
	for _, site := range env.Sites() {
		if site.Provider == name {
			bots = append(bots, Bot{AppID: site.AppID, BotID: firstOf(site.BotID, site.AppID), Name: firstOf(site.BotName, site.Name)})
		}
	}
	return bots
}

// accountWait bounds the question for the account's bots: the configuration
// answers as well.
const accountWait = 2 * time.Second

// ofAccount returns the bots of the account.
func ofAccount(ctx context.Context, env actions.Env) ([]Bot, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, accountWait, fault.New(fault.VendorUnavailable, "there was no answer within %s", accountWait))
	defer cancel()
	a, err := rest(env, OfBot{})
	if err != nil {
		return nil, err
	}
	var all []BotRecord
	if _, err := a.do(ctx, a.allBots(), &all); err != nil {
		return nil, err
	}
	sites := configured(env)
	bots := make([]Bot, 0, len(all))
	for _, record := range all {
		bot := Bot{AppID: record.ID, BotID: record.ID, Name: record.Name}
		if i := slices.IndexFunc(sites, func(b Bot) bool { return b.BotID == record.ID }); i >= 0 {
			bot.AppID = sites[i].AppID
		}
		bots = append(bots, bot)
	}
	return bots, nil
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
		evidence(env, "record", fmt.Sprintf("%d app id(s), each of the form of one", len(out.Bots))),
	}}
	for _, bot := range out.Bots {
		if checkAppID(bot.AppID) != nil || !in.keeps(bot) {
			proof.Verdict = event.Contradicted
			proof.Evidence = append(proof.Evidence, evidence(env, "record", bot.AppID+" is no app id"))
		}
	}
	return proof, nil
}
