package botstar_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
)

// BenchmarkREST compares an action of the REST API with the bare call that it
// makes, in turns on the same stand-in. ratio-p50 is the one that is promised:
// at most 1.3. The verification of a write is another call, and not in it.
func BenchmarkREST(b *testing.B) {
	a := connect(b, actions.RESTOptions{})
	ids := a.furnish()
	bare := a.server.Client()
	b.Cleanup(bare.CloseIdleConnections)
	spec := map[string]actions.Spec{}
	for _, s := range botstar.Provider().Actions {
		spec[s.Name] = s
	}
	const base = "https://apis.botstar.com/v1/bots/" + restBot
	tests := []struct {
		name, method, address, action string
		body, params                  map[string]any
	}{
		{"users.get", http.MethodGet, base + "/users/" + ids["user"], "botstar.users.get", nil, map[string]any{"user_id": ids["user"]}},
		{
			"users.update", http.MethodPatch, base + "/users/" + ids["user"], "botstar.users.update",
			map[string]any{"plan": "pro"},
			map[string]any{"user_id": ids["user"], "attributes": map[string]any{"plan": "pro"}},
		},
	}
	for _, tt := range tests {
		b.Run(tt.name, func(b *testing.B) {
			params, err := json.Marshal(tt.params)
			if err != nil {
				b.Fatal(err)
			}
			var ours, theirs []time.Duration
			for range b.N {
				began := time.Now()
				if err := bareCall(b, bare, tt.method, tt.address, tt.body); err != nil {
					b.Fatal(err)
				}
				theirs = append(theirs, time.Since(began))
				began = time.Now()
				if _, err := spec[tt.action].Run(b.Context(), a.env, params); err != nil {
					b.Fatal(err)
				}
				ours = append(ours, time.Since(began))
			}
			b.ReportMetric(float64(middle(ours).Microseconds()), "p50-µs")
			b.ReportMetric(float64(middle(theirs).Microseconds()), "bare-p50-µs")
			b.ReportMetric(float64(middle(ours))/float64(middle(theirs)), "ratio-p50")
		})
	}
}

// bareCall makes a call as anybody would, and reads the answer.
func bareCall(b *testing.B, client *http.Client, method, address string, body map[string]any) error {
	b.Helper()
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(b.Context(), method, address, in)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+canary)
	r.Header.Set("Content-Type", "application/json")
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	var out map[string]any
	return json.NewDecoder(response.Body).Decode(&out)
}

func middle(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
