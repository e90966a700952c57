package botstar

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// SendMessageIn is the input of botstar.messages.send.
type SendMessageIn struct {
	// RecipientID is the BotStar id of a Facebook user.
	RecipientID string `json:"recipient_id" jsonschema:"minLength=1,maxLength=256"`
	// Message is the message in BotStar's format, such as {"text": "…"}.
	Message map[string]any `json:"message" jsonschema:"minProperties=1"`
	// MessageTag tells Facebook what the message is for, outside of its time window.
	MessageTag string `json:"message_tag,omitempty" jsonschema:"enum=CONFIRMED_EVENT_UPDATE,enum=POST_PURCHASE_UPDATE,enum=ACCOUNT_UPDATE"`
}

// SendMessageOut is the output of botstar.messages.send.
type SendMessageOut struct {
	RecipientID string `json:"recipient_id"`
	MessageID   string `json:"message_id"`
}

func (m *SendMessageOut) whole() bool { return m.MessageID != "" }

func sendMessage() actions.Spec {
	spec := making("messages.send", "Send Message", "Sends a message to a user on Facebook. BotStar has no such call for users of a website.",
		"BotStar names the message; it has no call that reads a message, so nothing is seen of its arrival.")
	return actions.New(spec, runSendMessage, verifySendMessage)
}

func runSendMessage(ctx context.Context, env actions.Env, q SendMessageIn) (actions.Done[SendMessageOut], error) {
	var done actions.Done[SendMessageOut]
	a, err := rest(env, OfBot{})
	if err == nil {
		err = checkMessage(q.Message, "/params/message")
	}
	if err != nil {
		return done, err
	}
	body := map[string]any{"recipient": map[string]any{"id": q.RecipientID}, "message": q.Message}
	if q.MessageTag != "" {
		body["options"] = map[string]any{"message_tag": q.MessageTag}
	}
	call := a.call(http.MethodPost)
	call.Path, call.Body = []string{"messages"}, body
	done.Evidence, err = a.create(ctx, creation{what: "the message", call: call}, &done.Output)
	return done, err
}

func verifySendMessage(_ context.Context, env actions.Env, _ SendMessageIn, out SendMessageOut) (actions.Proof, error) {
	return actions.Proof{Verdict: event.Unverifiable, Evidence: []event.Evidence{
		evidence(env, "rest", "BotStar accepted it as "+out.MessageID),
	}}, nil
}

// checkMessage refuses a message without content.
func checkMessage(message map[string]any, at string) error {
	if len(message) == 0 {
		return fault.New(fault.SchemaViolation, "the message is empty").At(at)
	}
	if text, there := message["text"]; there {
		if s, ok := text.(string); !ok || s == "" {
			return fault.New(fault.SchemaViolation, "the text of a message is a text").At(at + "/text")
		}
	}
	return nil
}

// BroadcastIn is the input of botstar.messages.broadcast.
type BroadcastIn struct {
	// UserID is the BotStar id of the user. The visitor's own when it is left out
	// and known.
	UserID string `json:"user_id,omitempty" jsonschema:"minLength=1,maxLength=256"`
	// Messages are the messages in BotStar's format, such as {"text": "…"}.
	Messages []map[string]any `json:"messages" jsonschema:"minItems=1,maxItems=20"`
}

// BroadcastOut is the output of botstar.messages.broadcast.
type BroadcastOut struct {
	StatusCode int `json:"statusCode"`
}

func broadcast() actions.Spec {
	spec := making("messages.broadcast", "Broadcast Message",
		"Sends messages to one user of a bot, by the older API that only broadcasts. It needs the bot's own access token, rest.bot_token.",
		"BotStar says the status 200; it has no call that reads a message, so nothing is seen of its arrival.")
	return actions.New(spec, runBroadcast, verifyBroadcast)
}

func verifyBroadcast(_ context.Context, env actions.Env, _ BroadcastIn, _ BroadcastOut) (actions.Proof, error) {
	return actions.Proof{Verdict: event.Unverifiable, Evidence: []event.Evidence{evidence(env, "rest", "BotStar accepted it")}}, nil
}

func runBroadcast(ctx context.Context, env actions.Env, q BroadcastIn) (actions.Done[BroadcastOut], error) {
	var done actions.Done[BroadcastOut]
	a, err := rest(env, OfBot{})
	if err != nil {
		return done, err
	}
	user, err := userID(ctx, env, "user_id", q.UserID)
	if err != nil {
		return done, err
	}
	for i, message := range q.Messages {
		if err := checkMessage(message, fmt.Sprintf("/params/messages/%d", i)); err != nil {
			return done, err
		}
	}
	call := actions.Call{
		Method: http.MethodPost, Base: olderBase, Path: []string{"broadcast"}, Token: actions.BotToken, TokenIn: "token",
		Body: map[string]any{"userId": user, "messages": q.Messages},
	}
	var raw json.RawMessage
	if done.Evidence, err = a.create(ctx, creation{what: "the broadcast", call: call}, &raw); err != nil {
		return done, err
	}
	if err := json.Unmarshal(raw, &done.Output); err != nil || done.Output.StatusCode == 0 {
		return done, fault.New(fault.EffectUnknown, "the answer to %s has no statusCode", call)
	}
	if done.Output.StatusCode != http.StatusOK {
		return done, fault.New(fault.VendorRejects, "the answer to %s has the statusCode %d", call, done.Output.StatusCode)
	}
	return done, nil
}
