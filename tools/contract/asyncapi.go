package contract

import (
	"bytes"
	_ "embed" // for the document's form
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

//go:embed asyncapi.tmpl
var asyncAPIForm string

// A channel is one kind of subject in the AsyncAPI document.
type channel struct {
	// Key is the channel's name in the document: the type without its prefix.
	Key, Address, Title, Type, Schema string
	Parameters                        []string
	// Receives says that Parley reads the channel; otherwise it writes to it.
	Receives bool
	// Reply is the key of the channel of the answers, or "".
	Reply string
	// Operation is the name of what Parley does there.
	Operation string
}

// document is what the form is filled with.
type document struct {
	Channels []channel
	Reasons  []fault.Entry
}

// asyncAPI returns the AsyncAPI document of the catalogue.
func asyncAPI(catalog *actions.Catalog) ([]byte, error) {
	form, err := template.New(AsyncAPI).Funcs(template.FuncMap{"quote": quote}).Parse(asyncAPIForm)
	if err != nil {
		return nil, fmt.Errorf("reading the form of %s: %w", AsyncAPI, err)
	}
	var out bytes.Buffer
	if err := form.Execute(&out, document{Channels: channels(catalog), Reasons: fault.Reasons()}); err != nil {
		return nil, fmt.Errorf("filling the form of %s: %w", AsyncAPI, err)
	}
	return out.Bytes(), nil
}

// quote makes a YAML string in single quotes.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// The parameters of the addresses.
const (
	site    = "{site}"
	session = "{session}"
)

// channels returns every channel, in the order of the catalogue.
func channels(catalog *actions.Catalog) []channel {
	var all []channel
	pair := []string{"site", "session"}
	for _, spec := range catalog.Actions() {
		result := "result." + spec.Name
		all = append(all, channel{
			Key: "command." + spec.Name, Address: event.CommandSubject(spec.Scope, spec.Name, site, session),
			Title: spec.Title, Type: event.CommandType(spec.Name), Parameters: pair,
			Receives: true, Reply: result, Operation: "run." + spec.Name,
		}, channel{
			Key: result, Address: event.ResultSubject(spec.Name, site, session),
			Title: spec.Title + ": the result", Type: event.ResultType(spec.Name), Parameters: pair,
			Operation: "answer." + spec.Name,
		})
	}
	for _, provider := range catalog.Providers() {
		for _, fact := range slices.Sorted(maps.Keys(event.Facts())) {
			name := provider.Name + "." + fact
			all = append(all, channel{
				Key: "event." + name, Address: event.FactSubject(provider.Name, fact, site, session),
				Title: provider.Title + ": " + fact, Type: event.FactType(provider.Name, fact), Parameters: pair,
				Operation: "tell." + name,
			})
		}
	}
	for _, fact := range event.ConnectionFacts() {
		name := event.ProviderVault + "." + fact
		all = append(all, channel{
			Key: "event." + name, Address: event.FactSubject(event.ProviderVault, fact, site, session),
			Title: "Connections to vendors: " + fact, Type: event.FactType(event.ProviderVault, fact), Parameters: pair,
			Operation: "tell." + name,
		})
	}
	for _, kind := range event.TriggerKinds() {
		all = append(all, channel{
			Key: "trigger." + kind, Address: event.TriggerSubject("{source}", kind, site, session),
			Title: "The trigger " + kind, Type: event.TriggerType(kind), Parameters: append([]string{"source"}, pair...),
			Receives: true, Operation: "take." + kind,
		})
	}
	all = append(all, channel{
		Key: "dead.letter", Address: event.DeadSubject("{reason}", site, session),
		Title: "A dead letter", Type: event.DeadLetterType, Parameters: append([]string{"reason"}, pair...),
		Operation: "bury",
	})
	for i := range all {
		all[i].Schema, _ = event.SchemaPath(all[i].Type)
	}
	return all
}
