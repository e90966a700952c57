package botstar_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/actionstest"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
)

// canary is the account token of the tests. Nothing that leaves the client may
// hold it.
const canary = "canary-7f3b9c21d4/account token"

// tokens are the tokens of the one site. A test may change them.
type tokens struct {
	mu      sync.Mutex // guards the fields below
	account string
	bot     string
	next    string // what a refused token is replaced by
	revoke  []context.CancelCauseFunc
}

func (k *tokens) Token(ctx context.Context, site string, kind actions.TokenKind) (context.Context, actions.Token, func(), error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	value := k.account
	if kind == actions.BotToken {
		value = k.bot
	}
	if value == "" {
		return nil, actions.Token{}, nil, fault.New(fault.TokenMissing, "the site %s has no token", site)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	k.revoke = append(k.revoke, cancel)
	return ctx, actions.NewToken(value), func() { cancel(nil) }, nil
}

func (k *tokens) Refused(_ context.Context, _ string, _ actions.TokenKind, refused actions.Token) (actions.Token, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.next == "" || k.next == refused.Reveal() {
		return actions.Token{}, fault.New(fault.TokenRefused, "the vendor refuses the token, and there is no other")
	}
	return actions.NewToken(k.next), nil
}

// end revokes what is in use.
func (k *tokens) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, cancel := range k.revoke {
		cancel(fault.New(fault.ConnectionRevoked, "the connection was revoked"))
	}
}

// logged is what was logged. It is safe for use by many goroutines.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// An account is BotStar's REST API with one bot, and a client that reaches it
// under its real names.
type account struct {
	t      testing.TB
	vendor *vendor.Standin
	api    *vendor.REST
	server *standin.Server
	client *actions.RESTClient
	tokens *tokens
	log    *logged
	env    actions.Env
	bot    string
}

const (
	restAppID = "s0a1b2c3d-0000-4000-8000-000000000001"
	restBot   = "sb0700000-0000-4000-8000-000000000001"
)

// connect starts an account. The options' zero values are quick ones.
func connect(t testing.TB, o actions.RESTOptions) *account {
	t.Helper()
	a := &account{
		t: t, log: &logged{}, bot: restBot,
		vendor: vendor.New(vendor.Options{Token: canary, Bots: []vendor.Bot{{ID: restBot, AppID: restAppID, Name: "Nova", Team: "Shop"}}}),
	}
	a.api = a.vendor.REST()
	server, err := standin.Start(slog.New(slog.DiscardHandler), a.vendor.Hosts())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	a.server, a.tokens = server, &tokens{account: canary, bot: a.api.BotToken()}
	o.Tokens, o.Resolve, o.Roots = a.tokens, server.Resolve(), server.Roots()
	if o.Pause == 0 {
		o.Pause = time.Millisecond
	}
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	log := slog.New(slog.NewJSONHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a.client = actions.NewREST(log, o)
	t.Cleanup(a.client.Close)
	site := actions.Site{Name: "shop", Provider: "botstar", AppID: restAppID, BotID: restBot, BotName: "Nova", Mode: "livechat"}
	a.env = actions.Env{
		Site: site, Sites: func() []actions.Site { return []actions.Site{site} }, REST: a.client,
		Visitor: event.Visitor{UserID: "u-1", Email: "ada@example.test"},
		State:   &actions.State{}, Profile: &actions.Profile{}, Now: time.Now, Log: log,
	}
	return a
}

// do runs an action as a command of its own.
func (a *account) do(action string, params any) (actionstest.Command, error) {
	a.t.Helper()
	c, err := actionstest.Do(a.t.Context(), a.env, botstar.Provider(), "botstar."+action, rand.Text(), params)
	a.silent(c, err)
	return c, err
}

// silent fails when something that leaves the action holds a token.
func (a *account) silent(c actionstest.Command, err error) {
	a.t.Helper()
	text, jsonErr := json.Marshal([]any{c.Outcome.Evidence, c.Proof.Evidence, c.Outcome.Advice, a.env.Profile})
	if jsonErr != nil {
		a.t.Fatal(jsonErr)
	}
	all := string(c.Output) + string(text) + a.log.String()
	if err != nil {
		all += err.Error() + fault.From(err).Fix
	}
	for _, secret := range []string{canary, "canary-7f3b9c21d4", a.api.BotToken()} {
		if strings.Contains(all, secret) {
			a.t.Errorf("a token is shown: %s", all)
		}
	}
}

// must runs an action that succeeds with the verdict, and returns its output.
func (a *account) must(verdict event.Verdict, action string, params any) map[string]any {
	a.t.Helper()
	c, err := a.do(action, params)
	if err != nil {
		a.t.Fatalf("%s: %v", action, err)
	}
	if c.Proof.Verdict != verdict {
		a.t.Fatalf("%s is %s, want %s: %+v", action, c.Proof.Verdict, verdict, c.Proof.Evidence)
	}
	var out map[string]any
	if err := json.Unmarshal(c.Output, &out); err != nil {
		a.t.Fatal(err)
	}
	return out
}

// furnish gives the bot one of everything, and returns the ids by name.
func (a *account) furnish() map[string]string {
	a.t.Helper()
	ids := map[string]string{
		"user":   a.api.AddUser(a.bot, "", map[string]any{"first_name": "Ada", "email": "ada@example.test", "plan": "free"}, "lead"),
		"friend": a.api.AddUser(a.bot, "facebook", map[string]any{"first_name": "Fay"}),
	}
	both := map[string]any{"env": "draft,live"}
	with := func(more map[string]any) map[string]any {
		maps.Copy(more, both)
		return more
	}
	id := func(out map[string]any) string { return out["id"].(string) } //nolint:forcetypeassert // The test fails then.
	ids["attribute"] = id(a.must(event.Confirmed, "bot_attributes.create", with(map[string]any{"name": "colour", "data_type": "string", "value": "red"})))
	ids["entity"] = id(a.must(event.Confirmed, "cms_entities.create", with(map[string]any{"name": "Coffee", "fields": []any{
		map[string]any{"unique_name": "price", "name": "Price", "data_type": "text"},
		map[string]any{"unique_name": "notes", "name": "Notes", "data_type": "multiple_values"},
	}})))
	ids["item"] = id(a.must(event.Confirmed, "cms_items.create", with(map[string]any{"entity_id": ids["entity"], "name": "Mocha", "data": map[string]any{"price": "3"}})))
	return ids
}
