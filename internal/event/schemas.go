package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	schemaBase   = "https://parley.chat/schemas/"
	schemaSuffix = ".schema.json"
)

// SchemaPath returns the path of a type's schema in the published files, such
// as v1/command/botstar.widget.open.schema.json. It is not ok for a type that
// is not ours.
func SchemaPath(typ string) (path string, ok bool) {
	rest, ok := strings.CutPrefix(typ, typePrefix)
	if !ok {
		return "", false
	}
	kind, name, ok := strings.Cut(rest, ".")
	if !ok {
		return "", false
	}
	name, version, ok := cutLast(name, ".")
	if !ok || name == "" || !strings.HasPrefix(version, "v") {
		return "", false
	}
	return version + "/" + kind + "/" + name + schemaSuffix, true
}

// SchemaURI returns the identifier of a type's schema, for the attribute
// dataschema. It is "" for a type that is not ours.
func SchemaURI(typ string) string {
	path, ok := SchemaPath(typ)
	if !ok {
		return ""
	}
	return schemaBase + path
}

// typeOfPath is the inverse of SchemaPath.
func typeOfPath(path string) (typ string, ok bool) {
	parts := strings.Split(path, "/")
	if len(parts) != 3 {
		return "", false
	}
	name, ok := strings.CutSuffix(parts[2], schemaSuffix)
	return typePrefix + parts[1] + "." + name + "." + parts[0], ok
}

func cutLast(text, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):], true
	}
	return text, "", false
}

// Schemas validates data against the published schemas. It compiles a schema
// when it is needed first, once. It may be used by many goroutines.
type Schemas struct {
	byType map[string]*schema

	parsers sync.Pool // of *parser
}

// A schema is one file of the published schemas.
type schema struct {
	typ     string
	source  []byte
	compile func() (compiled, error)
}

// compiled is a schema that is ready to validate. plan may be nil.
type compiled struct {
	schema *jsonschema.Schema
	plan   *plan
}

// NewSchemas returns the schemas of the files v1/<kind>/<name>.schema.json.
func NewSchemas(files fs.FS) (*Schemas, error) {
	s := &Schemas{byType: map[string]*schema{}, parsers: sync.Pool{New: func() any { return &parser{} }}}
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		typ, ok := typeOfPath(path)
		if err != nil || entry.IsDir() || !ok {
			return err
		}
		source, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		s.byType[typ] = &schema{typ: typ, source: source, compile: sync.OnceValues(func() (compiled, error) {
			return compile(typ, source)
		})}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the schemas: %w", err)
	}
	if len(s.byType) == 0 {
		return nil, fault.New(fault.InternalError, "there are no schemas")
	}
	return s, nil
}

// compile returns the validator of one schema. Formats are asserted, and
// nothing is loaded from elsewhere: each file stands alone.
func compile(typ string, source []byte) (compiled, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(source))
	if err != nil {
		return compiled{}, fault.New(fault.InternalError, "reading the schema of %s", typ).Because(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	compiler.UseLoader(jsonschema.SchemeURLLoader{})
	if err := compiler.AddResource(SchemaURI(typ), doc); err != nil {
		return compiled{}, fault.New(fault.InternalError, "adding the schema of %s", typ).Because(err)
	}
	schema, err := compiler.Compile(SchemaURI(typ))
	if err != nil {
		return compiled{}, fault.New(fault.InternalError, "compiling the schema of %s", typ).Because(err)
	}
	fast, ok := planOf(schema)
	if !ok {
		fast = nil
	}
	return compiled{schema, fast}, nil
}

// Types returns the types that have a schema, sorted.
func (s *Schemas) Types() []string { return slices.Sorted(maps.Keys(s.byType)) }

// Source returns the text of the type's schema, or nil. It must not be changed.
func (s *Schemas) Source(typ string) json.RawMessage {
	if found := s.byType[typ]; found != nil {
		return found.source
	}
	return nil
}

// Validate says what is wrong with the data of the type, or nil. It is
// [ParseData] and then [Schemas.ValidateValue], and costs less where
// [Schemas.Scan] accepts the data.
func (s *Schemas) Validate(typ string, data []byte) error {
	if s.Scan(typ, data, nil) {
		return nil
	}
	value, _, err := s.parse(data, "")
	if err != nil {
		return err
	}
	return s.ValidateValue(typ, value)
}

// parse is ParseData, and returns the text of one member of the outermost
// object, too.
func (s *Schemas) parse(data []byte, member string) (value any, text json.RawMessage, err error) {
	p, ok := s.parsers.Get().(*parser)
	if !ok {
		p = &parser{} // never: the pool holds nothing else
	}
	defer func() {
		p.reset(nil, "") // keeps no data alive
		s.parsers.Put(p)
	}()
	p.reset(data, member)
	value, err = p.parse()
	return value, p.raw, err
}

// ValidateValue says what is wrong with the data of the type, or nil. The value
// comes from [ParseData]. A violation is a [fault.SchemaViolation]: its Field
// points at what is wrong, and its text names the field, the mistake and, where
// it is plain, the remedy.
func (s *Schemas) ValidateValue(typ string, value any) error {
	found := s.byType[typ]
	if found == nil {
		return s.unknown(typ)
	}
	ready, err := found.compile()
	if err != nil {
		return err
	}
	if ready.plan != nil && ready.plan.accepts(value) {
		return nil
	}
	err = ready.schema.Validate(value)
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return fault.New(fault.InternalError, "validating %s", typ).Because(err)
	}
	return explain(typ, ready.schema, invalid)
}

func (s *Schemas) unknown(typ string) error {
	action, ok := ActionOfType(typ)
	if !ok {
		near := fault.Nearest(typ, s.Types())
		unknown := fault.New(fault.Malformed, "there is no type %q", typ).WithFix("`publisher actions` lists the actions")
		if near != "" {
			unknown = unknown.WithFix("did you mean %s?", near)
		}
		return unknown
	}
	var known []string
	for typ := range s.byType {
		if name, ok := ActionOfType(typ); ok {
			known = append(known, name)
		}
	}
	unknown := fault.New(fault.UnknownAction, "no action is called %q", action)
	if near := fault.Nearest(action, known); near != "" {
		unknown = unknown.WithFix("did you mean %s? `publisher actions` lists the names", near)
	}
	return unknown
}

// DecodeCommand validates the data of a command, and decodes it, in one pass.
func (s *Schemas) DecodeCommand(e Envelope) (Command, error) {
	if !strings.HasPrefix(e.Type, typePrefix+"command.") {
		return Command{}, fault.New(fault.Malformed, "the type %q is not a command's", e.Type).
			WithFix("a command's type is %s", CommandType("provider.object.verb"))
	}
	value, params, err := s.parse(e.Data, "params")
	if err != nil {
		return Command{}, err
	}
	if err := s.ValidateValue(e.Type, value); err != nil {
		return Command{}, err
	}
	return command(value, params), nil
}

// command reads the fields of a command that the schema has passed, so a member
// is absent or of its type.
func command(value any, params json.RawMessage) Command {
	data, _ := value.(map[string]any)
	visitor, _ := data["visitor"].(map[string]any)
	c := Command{Params: params}
	c.Site, _ = data["site"].(string)
	c.Alias, _ = data["alias"].(string)
	c.Visitor.UserID, _ = visitor["user_id"].(string)
	c.Visitor.Email, _ = visitor["email"].(string)
	c.Visitor.AnonymousID, _ = visitor["anonymous_id"].(string)
	if auto, ok := data["auto_boot"].(bool); ok {
		c.AutoBoot = &auto
	}
	if ms, ok := data["timeout_ms"].(float64); ok {
		c.TimeoutMS = new(int(ms))
	}
	return c
}
