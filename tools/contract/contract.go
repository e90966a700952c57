// Package contract makes the published contract from the Go types: a JSON
// Schema for every type of event, and the AsyncAPI document that ties them to
// the subjects.
package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/invopop/jsonschema"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
)

// AsyncAPI is the name of the AsyncAPI document among the files.
const AsyncAPI = "asyncapi.yaml"

// Files returns the text of every published file, by its path below schemas/.
// root is the folder of the repository: the descriptions come from its
// comments.
func Files(catalog *actions.Catalog, root string) (map[string][]byte, error) {
	source, err := readSource(root)
	if err != nil {
		return nil, err
	}
	g := generator{source: source, files: map[string][]byte{}}
	for _, spec := range catalog.Actions() {
		g.add(event.CommandType(spec.Name), g.command(spec))
		g.add(event.ResultType(spec.Name), g.result(spec))
	}
	for _, provider := range catalog.Providers() {
		for name, data := range event.Facts() {
			g.add(event.FactType(provider.Name, name), g.fact(provider, name, data))
		}
	}
	for _, name := range event.ConnectionFacts() {
		g.add(event.FactType(event.ProviderVault, name), g.connection(name))
	}
	for _, kind := range event.TriggerKinds() {
		g.add(event.TriggerType(kind), g.trigger(kind))
	}
	g.add(event.DeadLetterType, g.deadLetter())
	g.add(event.RejectedType, g.rejected())
	if g.err != nil {
		return nil, g.err
	}
	g.files[AsyncAPI], err = asyncAPI(catalog)
	return g.files, err
}

// A generator collects the files; its first error stays.
type generator struct {
	source source
	files  map[string][]byte
	err    error
}

// add writes the schema of the type.
func (g *generator) add(typ string, schema *jsonschema.Schema) {
	path, ok := event.SchemaPath(typ)
	if !ok {
		g.fail(fmt.Errorf("the type %s has no path", typ))
		return
	}
	schema.Version, schema.ID = jsonschema.Version, jsonschema.ID(event.SchemaURI(typ))
	text, err := marshal(schema)
	if err != nil {
		g.fail(fmt.Errorf("writing the schema of %s: %w", typ, err))
		return
	}
	g.files[path] = text
}

func (g *generator) fail(err error) {
	if g.err == nil {
		g.err = err
	}
}

// marshal prints the schema with two spaces, and < > & as they are.
func marshal(schema *jsonschema.Schema) ([]byte, error) {
	compact, err := json.Marshal(schema)
	if err != nil {
		return nil, err
	}
	if compact, err = arrange(compact, false); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, compact, "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	text := out.Bytes()
	for escaped, plain := range map[string]string{`\u003c`: "<", `\u003e`: ">", `\u0026`: "&"} {
		text = bytes.ReplaceAll(text, []byte(escaped), []byte(plain))
	}
	return text, nil
}

// command is the schema of an action's commands: event.Command with its params
// narrowed to the action's input, and its timeout to the action's bounds.
func (g *generator) command(spec actions.Spec) *jsonschema.Schema {
	schema := g.strict(event.Command{})
	schema.Title = spec.Title
	schema.Description = spec.Description
	input := g.input(spec)
	input.Description = "The input of " + spec.Name + "."
	schema.Properties.Set("params", input)
	if len(required(input)) > 0 {
		schema.Required = append(schema.Required, "params")
	}
	somebody(schema)
	if timeout, ok := schema.Properties.Get("timeout_ms"); ok {
		timeout.Minimum, timeout.Maximum = milliseconds(spec.Timeout.Min), milliseconds(spec.Timeout.Max)
		timeout.Description = fmt.Sprintf("The time that the action may take, in milliseconds; %s when it is left out.",
			milliseconds(spec.Timeout.Default))
	}
	return schema
}

func milliseconds(d time.Duration) json.Number {
	return json.Number(fmt.Sprint(d.Milliseconds()))
}

// somebody demands that the visitor has an identity.
func somebody(schema *jsonschema.Schema) {
	if visitor, ok := schema.Properties.Get("visitor"); ok {
		visitor.MinProperties = new(uint64(1))
	}
}

// input is the schema of the action's input: its own, or the one of its type.
func (g *generator) input(spec actions.Spec) *jsonschema.Schema {
	if spec.InputSchema == nil {
		return g.strict(spec.In)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(spec.InputSchema, &members); err != nil {
		g.fail(fmt.Errorf("the input schema of %s: %w", spec.Name, err))
		return &jsonschema.Schema{}
	}
	delete(members, "description")
	extras := map[string]any{}
	for name, member := range members {
		extras[name] = member
	}
	return &jsonschema.Schema{Extras: extras}
}

// required returns the members that the schema demands.
func required(schema *jsonschema.Schema) []string {
	raw, ok := schema.Extras["required"].(json.RawMessage)
	if !ok {
		return schema.Required
	}
	var names []string
	if err := json.Unmarshal(raw, &names); err != nil {
		return nil
	}
	return names
}

// result is the schema of an action's results: event.Result with its output
// narrowed to the action's.
func (g *generator) result(spec actions.Spec) *jsonschema.Schema {
	schema := g.tolerant(event.Result{})
	schema.Title = spec.Title + ": the result"
	schema.Description = "What became of a command " + spec.Name + ". " + spec.Verification
	output := g.tolerant(spec.Out)
	output.Description = "The output of " + spec.Name + "; it is there when the status is succeeded or queued."
	schema.Properties.Set("output", output)
	return schema
}

func (g *generator) fact(provider actions.Provider, name string, data any) *jsonschema.Schema {
	schema := g.tolerant(data)
	schema.Title = provider.Title + ": " + name
	return schema
}

func (g *generator) connection(name string) *jsonschema.Schema {
	schema := g.tolerant(event.ConnectionChanged{})
	schema.Title = "Connections to vendors: " + name
	return schema
}

func (g *generator) trigger(kind string) *jsonschema.Schema {
	schema := g.strict(event.Trigger{})
	schema.Title = "The trigger " + kind
	somebody(schema)
	return schema
}

func (g *generator) deadLetter() *jsonschema.Schema {
	schema := g.tolerant(event.DeadLetter{})
	schema.Title = "A dead letter"
	return schema
}

func (g *generator) rejected() *jsonschema.Schema {
	schema := g.tolerant(event.RejectedEvent{})
	schema.Title = "An event that was rejected"
	return schema
}

// strict is the schema of an input: nothing may be there that is not named.
func (g *generator) strict(value any) *jsonschema.Schema { return g.reflect(value, false) }

// tolerant is the schema of what we publish: a reader ignores what it does not
// know, so that a newer worker does not break it.
func (g *generator) tolerant(value any) *jsonschema.Schema {
	schema := g.reflect(value, true)
	allowNull(reflect.TypeOf(value), schema)
	return schema
}

func (g *generator) reflect(value any, tolerant bool) *jsonschema.Schema {
	reflector := jsonschema.Reflector{
		Anonymous: true, DoNotReference: true, ExpandedStruct: true,
		AllowAdditionalProperties: tolerant,
		LookupComment:             g.source.comment,
		Mapper:                    g.source.enum,
	}
	schema := reflector.Reflect(value)
	schema.Version = ""
	polish(schema)
	return schema
}

// polish writes the descriptions for a reader of JSON, all the way down.
func polish(schema *jsonschema.Schema) {
	if schema == nil {
		return
	}
	polish(schema.Items)
	polish(schema.AdditionalProperties)
	if schema.Properties == nil {
		return
	}
	var names []string
	for pair := schema.Properties.Oldest(); pair != nil; pair = pair.Next() {
		names = append(names, pair.Key)
	}
	for pair := schema.Properties.Oldest(); pair != nil; pair = pair.Next() {
		text := pair.Value.Description
		polish(pair.Value)
		pair.Value.Description = plain(text, names)
	}
}

// Paths returns the paths of the files, sorted.
func Paths(files map[string][]byte) []string { return slices.Sorted(maps.Keys(files)) }
