package ours

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
)

// The account that REST actions are measured on, and its address.
const (
	restApp   = "s0a1b2c3d-0000-4000-8000-000000000001"
	restBot   = "sb0700000-0000-4000-8000-000000000001"
	restToken = "a token of the benchmark's account"
	restUsers = "https://apis.botstar.com/v1/bots/" + restBot + "/users/"
)

// account is BotStar's REST API in this process, with one user of one bot.
type account struct {
	server *standin.Server
	bot    string // its token
	user   string
	said   int // how many values the user was given
}

func openAccount() (*account, error) {
	v := vendor.New(vendor.Options{
		Keep: 1, Token: restToken, Bots: []vendor.Bot{{ID: restBot, AppID: restApp, Name: "Nova", Team: "Shop"}},
	})
	server, err := standin.Start(slog.New(slog.DiscardHandler), v.Hosts())
	if err != nil {
		return nil, fmt.Errorf("starting the stand-in: %w", err)
	}
	user := v.REST().AddUser(restBot, "", map[string]any{"first_name": "Ada", "plan": "free"})
	return &account{server: server, bot: v.REST().BotToken(), user: user}, nil
}

// next is a value that the user does not have.
func (a *account) next() string {
	a.said++
	return fmt.Sprintf("plan-%d", a.said)
}

// Token implements actions.TokenSource.
func (a *account) Token(ctx context.Context, _ string, kind actions.TokenKind) (context.Context, actions.Token, func(), error) {
	if kind == actions.BotToken {
		return ctx, actions.NewToken(a.bot), func() {}, nil
	}
	return ctx, actions.NewToken(restToken), func() {}, nil
}

// Refused implements actions.TokenSource: there is no other token.
func (a *account) Refused(context.Context, string, actions.TokenKind, actions.Token) (actions.Token, error) {
	return actions.Token{}, fault.New(fault.TokenRefused, "the stand-in refuses the token")
}

// Close ends the stand-in.
func (a *account) Close() error {
	if err := a.server.Close(); err != nil {
		return fmt.Errorf("ending the stand-in: %w", err)
	}
	return nil
}

// restActions runs the actions by themselves, without bus and worker.
type restActions struct {
	*account
	client *actions.RESTClient
	env    actions.Env
	specs  map[string]actions.Spec
}

func startRESTActions() (*restActions, error) {
	a, err := openAccount()
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	r := &restActions{account: a, specs: map[string]actions.Spec{}}
	for _, s := range botstar.Provider().Actions {
		r.specs[s.Name] = s
	}
	r.client = actions.NewREST(log, actions.RESTOptions{Tokens: a, Resolve: a.server.Resolve(), Roots: a.server.Roots()})
	site := actions.Site{Name: siteName, Provider: "botstar", AppID: restApp, BotID: restBot, Mode: "livechat"}
	r.env = actions.Env{
		Site: site, Sites: func() []actions.Site { return []actions.Site{site} }, REST: r.client,
		Visitor: event.Visitor{UserID: "u-1"}, State: &actions.State{}, Profile: &actions.Profile{}, Now: time.Now, Log: log,
	}
	return r, nil
}

// Round reads the user and changes him, again and again.
func (r *restActions) Round(o contend.Order) (contend.Report, error) {
	ctx := context.Background() // The client bounds each request.
	return inTurns(o.Jobs, func(int) (func() error, error) {
		if err := r.act(ctx, "botstar.users.get", map[string]any{"user_id": r.user}); err != nil {
			return nil, err
		}
		return nil, r.act(ctx, "botstar.users.update", r.update())
	})
}

// update are the parameters of the next change.
func (a *account) update() map[string]any {
	return map[string]any{"user_id": a.user, "attributes": map[string]any{"plan": a.next()}}
}

// act runs an action and verifies it.
func (r *restActions) act(ctx context.Context, action string, input map[string]any) error {
	params, err := json.Marshal(input)
	if err != nil {
		return fmt.Errorf("writing the parameters: %w", err)
	}
	spec := r.specs[action]
	done, err := spec.Run(ctx, r.env, params)
	if err != nil {
		return fmt.Errorf("running %s: %w", action, err)
	}
	proof, err := spec.Verify(ctx, r.env, params, done)
	if err != nil {
		return fmt.Errorf("verifying %s: %w", action, err)
	}
	if proof.Verdict != event.Confirmed {
		return fmt.Errorf("%s is %s: %+v", action, proof.Verdict, proof.Evidence)
	}
	return nil
}

// Close ends the client and the stand-in.
func (r *restActions) Close() error {
	r.client.Close()
	return r.account.Close()
}

// restCalls makes the same calls as anybody would.
type restCalls struct {
	*account
	client *http.Client
}

func startRESTCalls() (*restCalls, error) {
	a, err := openAccount()
	if err != nil {
		return nil, err
	}
	return &restCalls{a, a.server.Client()}, nil
}

// Round reads the user, changes him and reads him again.
func (r *restCalls) Round(o contend.Order) (contend.Report, error) {
	ctx := context.Background() // The client bounds each request.
	return inTurns(o.Jobs, func(int) (func() error, error) {
		_, first := r.call(ctx, http.MethodGet, nil)
		plan := r.next()
		_, second := r.call(ctx, http.MethodPatch, map[string]any{"plan": plan})
		user, third := r.call(ctx, http.MethodGet, nil)
		if err := errors.Join(first, second, third); err != nil {
			return nil, err
		}
		if user["plan"] != plan {
			return nil, fmt.Errorf("the user has %v, not %s", user["plan"], plan)
		}
		return nil, nil
	})
}

// call makes a call, and reads the answer.
func (r *restCalls) call(ctx context.Context, method string, body map[string]any) (map[string]any, error) {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("writing a request: %w", err)
		}
		in = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, restUsers+r.user, in)
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+restToken)
	request.Header.Set("Content-Type", "application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the stand-in: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // It was read.
	var out map[string]any
	if err := json.NewDecoder(response.Body).Decode(&out); err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s was answered %d: %w", method, response.StatusCode, err)
	}
	return out, nil
}

// Close ends the client and the stand-in.
func (r *restCalls) Close() error {
	r.client.CloseIdleConnections()
	return r.account.Close()
}
