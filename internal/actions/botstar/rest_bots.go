package botstar

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/parley-chat/parley/internal/actions"
)

// BotRecord is a bot as the REST API shows it.
type BotRecord struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// TeamName is the team that the bot belongs to.
	TeamName string `json:"team_name,omitempty"`
}

func (b *BotRecord) whole() bool { return b.ID != "" }

// ListBotsIn is the input of botstar.bots.list.
type ListBotsIn struct{}

// ListBotsOut is the output of botstar.bots.list.
type ListBotsOut struct {
	Bots []BotRecord `json:"bots"`
}

// allBots is the call for the list of bots.
func (a api) allBots() actions.Call {
	call := a.call(http.MethodGet)
	call.Path, call.Slash = []string{"bots"}, true
	return call
}

func listBots() actions.Spec {
	spec := reading("bots.list", "List Bots", "Lists the bots of the account that the site's token belongs to.",
		"A list, each of whose elements has an id.")
	return actions.New(spec, runListBots, verifyListBots)
}

func runListBots(ctx context.Context, env actions.Env, _ ListBotsIn) (actions.Done[ListBotsOut], error) {
	done := actions.Done[ListBotsOut]{Output: ListBotsOut{Bots: []BotRecord{}}}
	a, err := rest(env, OfBot{})
	if err == nil {
		_, err = a.do(ctx, a.allBots(), &done.Output.Bots)
	}
	return done, err
}

func verifyListBots(_ context.Context, env actions.Env, _ ListBotsIn, out ListBotsOut) (actions.Proof, error) {
	return everyID(env, out.Bots, func(b BotRecord) string { return b.ID })
}

// CreateBotIn is the input of botstar.bots.create.
type CreateBotIn struct {
	// Name is the name of the new bot.
	Name string `json:"name" jsonschema:"minLength=1,maxLength=250"`
}

func createBot() actions.Spec {
	spec := making("bots.create", "Create Bot", "Makes a new bot in the account that the site's token belongs to.",
		"BotStar shows a bot of the new id, with the name.")
	return actions.New(spec, runCreateBot, verifyCreateBot)
}

func runCreateBot(ctx context.Context, env actions.Env, in CreateBotIn) (actions.Done[BotRecord], error) {
	var done actions.Done[BotRecord]
	a, err := rest(env, OfBot{})
	if err != nil {
		return done, err
	}
	find, err := newOnes(ctx, func(ctx context.Context) ([]json.RawMessage, error) { return a.list(ctx, a.allBots()) }, in.Name)
	if err != nil {
		return done, err
	}
	call := a.allBots()
	call.Method, call.Repeatable, call.Body = http.MethodPost, false, map[string]any{"name": in.Name}
	done.Evidence, err = a.create(ctx, creation{"the bot", call, find}, &done.Output)
	return done, err
}

func verifyCreateBot(ctx context.Context, env actions.Env, in CreateBotIn, out BotRecord) (actions.Proof, error) {
	return readBack(ctx, env, func(ctx context.Context) (glance, error) {
		a, err := rest(env, OfBot{out.ID})
		if err != nil {
			return glance{}, err
		}
		var seen BotRecord
		_, err = a.do(ctx, a.call(http.MethodGet), &seen)
		return shows(map[string]any{"id": out.ID, "name": in.Name}, map[string]any{"id": seen.ID, "name": seen.Name}), err
	})
}

// GetBotIn is the input of botstar.bots.get.
type GetBotIn struct{ OfBot }

func getBot() actions.Spec {
	spec := reading("bots.get", "Get Bot", "Shows a bot: its name and its team.", "The answer is of the id that was asked for.")
	return actions.New(spec, runGetBot, verifyGetBot)
}

func runGetBot(ctx context.Context, env actions.Env, in GetBotIn) (actions.Done[BotRecord], error) {
	var done actions.Done[BotRecord]
	a, err := rest(env, in.OfBot)
	if err == nil {
		_, err = a.do(ctx, a.call(http.MethodGet), &done.Output)
	}
	return done, err
}

func verifyGetBot(_ context.Context, env actions.Env, in GetBotIn, out BotRecord) (actions.Proof, error) {
	a, err := rest(env, in.OfBot)
	if err != nil {
		return actions.Proof{}, err
	}
	return sameID(env, a.bot, out.ID)
}

// PublishBotIn is the input of botstar.bots.publish.
type PublishBotIn struct{ OfBot }

func publishBot() actions.Spec {
	spec := changing("bots.publish", "Publish Bot", "Makes the draft of a bot live: its attributes and its CMS as they are now.",
		"What BotStar shows of the bot's attributes and entities is the same live and in the draft.")
	return actions.New(spec, runPublishBot, verifyPublishBot)
}

func runPublishBot(ctx context.Context, env actions.Env, in PublishBotIn) (actions.Done[StatusOut], error) {
	var done actions.Done[StatusOut]
	a, err := rest(env, in.OfBot)
	if err != nil {
		return done, err
	}
	call := a.call(http.MethodPost, "publish")
	call.Repeatable = true
	var answer actions.Answer
	done.Output, answer, err = a.change(ctx, call)
	done.Evidence = a.answered(answer)
	return done, err
}

func verifyPublishBot(ctx context.Context, env actions.Env, in PublishBotIn, _ StatusOut) (actions.Proof, error) {
	return readBack(ctx, env, func(ctx context.Context) (glance, error) { return published(ctx, env, in.OfBot) })
}

// published compares the two stores of the bot.
func published(ctx context.Context, env actions.Env, of OfBot) (glance, error) {
	a, err := rest(env, of)
	if err != nil {
		return glance{}, err
	}
	for _, part := range []string{"attributes", "cms_entities"} {
		var stores [2][]byte
		for i, store := range []string{draft, live} {
			var all []any
			if _, err := a.do(ctx, in(a.call(http.MethodGet, part), store), &all); err != nil {
				return glance{}, err
			}
			if stores[i], err = json.Marshal(all); err != nil {
				return glance{}, fmt.Errorf("comparing the stores: %w", err)
			}
		}
		if !bytes.Equal(stores[0], stores[1]) {
			return glance{seen: part + " differ between draft and live"}, nil
		}
	}
	return glance{ok: true, seen: "attributes and entities are the same live and in the draft"}, nil
}
