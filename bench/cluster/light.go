package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

//go:embed schemas
var schemaFiles embed.FS

// The simulated vendor and its only action.
const (
	loadProvider = "load"
	loadSite     = "load"
	putName      = "load.item.put"
)

// putIn is the input of the action.
type putIn struct {
	Seq int `json:"seq"`
}

// putOut is its output.
type putOut struct {
	// Changed is false when the effect was there already.
	Changed bool `json:"changed"`
}

// simulator does the simulated action: like an action on a page, it looks
// whether the effect is there, works for a while, and makes it.
type simulator struct {
	ledger string // address
	worker string
	work   time.Duration
	client *http.Client
}

// catalog returns a catalogue and schemas with the simulated vendor only.
func (s *simulator) catalog() (*actions.Catalog, *event.Schemas, error) {
	catalog, err := actions.NewCatalog(actions.Provider{
		Name: loadProvider, Title: "Load", Modes: []string{"livechat"},
		CheckAppID: func(string) error { return nil },
		Actions: []actions.Spec{actions.New(actions.Spec{
			Name: putName, Title: "Put", Scope: event.ClassWrite, Plane: actions.PlaneLocal,
			// It looks before it acts, so that doing it again changes nothing.
			Idempotent: true,
			Timeout:    actions.Bounds{Min: 100 * time.Millisecond, Default: 30 * time.Second, Max: 2 * time.Minute},
		}, s.put, nil)},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("building the simulated catalogue: %w", err)
	}
	files, err := fs.Sub(schemaFiles, "schemas")
	if err != nil {
		return nil, nil, fmt.Errorf("opening the simulated schemas: %w", err)
	}
	schemas, err := event.NewSchemas(files)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the simulated schemas: %w", err)
	}
	return catalog, schemas, nil
}

// put is the action.
func (s *simulator) put(ctx context.Context, env actions.Env, in putIn) (actions.Done[putOut], error) {
	var done actions.Done[putOut]
	status, err := s.ask(ctx, http.MethodGet, "/effects/"+env.CommandID, nil)
	if err != nil || status == http.StatusNoContent {
		return done, err
	}
	timer := time.NewTimer(s.work)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return done, fault.From(context.Cause(ctx))
	}
	status, err = s.ask(ctx, http.MethodPost, "/effects", put{
		ID: env.CommandID, Site: env.Site.Name, Session: event.SessionKey(env.Site.Name, env.Visitor),
		Seq: in.Seq, Worker: s.worker, Fence: env.Fence,
	})
	switch {
	case err != nil:
		return done, err
	case status == http.StatusConflict:
		return done, fault.New(fault.StaleFence, "the ledger has seen a higher fence than %d", env.Fence)
	case status != http.StatusNoContent:
		return done, fault.New(fault.InternalError, "the ledger answered %d", status)
	}
	done.Output.Changed = true
	return done, nil
}

// ask asks the ledger. body may be nil.
func (s *simulator) ask(ctx context.Context, method, path string, body any) (int, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, fault.New(fault.InternalError, "encoding an effect").Because(err)
	}
	request, err := http.NewRequestWithContext(ctx, method, s.ledger+path, bytes.NewReader(text))
	if err != nil {
		return 0, fault.New(fault.InternalError, "asking the ledger").Because(err)
	}
	response, err := s.client.Do(request)
	if err != nil {
		// As when a page cannot be reached: nobody knows whether it took effect.
		return 0, fault.New(fault.PageCrashed, "the ledger did not answer").Because(err)
	}
	defer response.Body.Close() //nolint:errcheck // It was read to its end.
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode, nil
}
