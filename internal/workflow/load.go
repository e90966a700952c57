package workflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Validator holds the schemas of the CloudEvents types. *event.Schemas fits it.
type Validator interface {
	// Validate checks the data of an event of the type.
	Validate(typ string, data []byte) error
	// Scan reports whether the data is correct for certain, and tells its members:
	// see event.Schemas.
	Scan(typ string, data []byte, member func(name []byte, value event.Raw)) bool
	// Source returns the schema of the type, or nil.
	Source(typ string) json.RawMessage
}

// Compiler turns workflow files into programs. It is safe for concurrent use.
type Compiler struct {
	catalog  *actions.Catalog
	schemas  Validator
	sites    []actions.Site
	language *language
}

// NewCompiler returns a compiler that knows these actions, schemas and sites.
func NewCompiler(catalog *actions.Catalog, schemas Validator, sites []actions.Site) (*Compiler, error) {
	known := common()
	for _, provider := range catalog.Providers() {
		for _, fact := range slices.Sorted(maps.Keys(event.Facts())) {
			if text := schemas.Source(event.FactType(provider.Name, fact)); known[factShape(fact)] == nil && text != nil {
				if err := known.add(factShape(fact), text); err != nil {
					return nil, err
				}
			}
		}
		for _, spec := range provider.Actions {
			if err := known.add("result."+spec.Name, schemas.Source(event.ResultType(spec.Name))); err != nil {
				return nil, err
			}
		}
	}
	language, err := newLanguage(known)
	if err != nil {
		return nil, err
	}
	return &Compiler{catalog, schemas, sites, language}, nil
}

// add makes the shape of a schema's text.
func (s shapes) add(name string, text json.RawMessage) error {
	if text == nil {
		return nil
	}
	var schema jsonSchema
	if err := json.Unmarshal(text, &schema); err != nil {
		return fmt.Errorf("reading the schema of %s: %w", name, err)
	}
	s.of(name, schema)
	return nil
}

// Compile compiles one workflow file. The error holds everything that is wrong
// in it; what is only suspicious is in Program.Warnings.
func (c *Compiler) Compile(file string, text []byte) (*Program, error) {
	name, _, _ := strings.Cut(path.Base(file), ".")
	return c.compile(file, name, text)
}

// compile compiles a file whose default name is given.
func (c *Compiler) compile(file, name string, text []byte) (*Program, error) {
	var rule Rule
	source, form, err := readMost(file, text, fault.BadRule, &rule)
	if err != nil {
		return nil, err
	}
	if rule.Name == "" {
		rule.Name = name
	}
	p := &Program{
		Rule: rule, Source: slices.Clone(text), File: file, First: End, Otherwise: End,
		Digest: event.DerivedID("workflow", rule.Name, string(text)), known: c.language.known,
	}
	l := linter{Compiler: c, source: source, program: p, form: form}
	l.all()
	if err := source.Fail(l.wrong()...); err != nil {
		return nil, err
	}
	return p, nil
}

// Set is a set of programs that are switched on. It never changes.
type Set struct {
	programs []*Program
	// starts finds the programs by what starts them; the site, and the name, may
	// be "" for every one.
	starts map[startKey][]*Program
	awaits map[Topic]bool
}

type startKey struct {
	topic Topic
	site  string
}

// NewSet returns the set of the programs, which act in this order. Two of one
// name, and workflows that start each other for ever, are an error.
func NewSet(programs ...*Program) (*Set, error) {
	s := &Set{starts: map[startKey][]*Program{}, awaits: map[Topic]bool{}}
	seen := map[string]string{}
	var wrong []error
	for _, p := range programs {
		if other, twice := seen[p.Name]; twice {
			message := fmt.Sprintf("the rule name %q is already used by %s", p.Name, other)
			wrong = append(wrong, &SourceError{fault.BadRule, []Problem{{File: p.File, Message: message, Fix: "give it another `name`"}}})
		}
		seen[p.Name] = p.File
		s.add(p)
	}
	wrong = append(wrong, loops(s.programs)...)
	return s, errors.Join(wrong...)
}

// Load compiles the rule files, which may also be named by patterns. It returns
// everything that is wrong in any of them. Rules act in the order of the names
// of their files.
func (c *Compiler) Load(files fs.FS, patterns ...string) (*Set, error) {
	var names []string
	for _, pattern := range patterns {
		found, err := fs.Glob(files, pattern)
		if err != nil {
			return nil, fault.New(fault.BadRule, "the pattern %q of rule files: %s", pattern, err)
		}
		if len(found) == 0 && !strings.ContainsAny(pattern, "*?[") {
			return nil, fault.New(fault.BadRule, "there is no rule file %s", pattern)
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	var programs []*Program
	var wrong []error
	for _, name := range slices.Compact(names) {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("reading the rule file %s: %w", name, err)
		}
		program, err := c.Compile(name, text)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		programs = append(programs, program)
	}
	set, err := NewSet(programs...)
	if err != nil {
		wrong = append(wrong, err)
	}
	return set, errors.Join(wrong...)
}

func (s *Set) add(p *Program) {
	own := *p
	own.order = len(s.programs)
	s.programs = append(s.programs, &own)
	for _, start := range own.Starts {
		sites := start.Sites
		if len(sites) == 0 {
			sites = []string{""}
		}
		for _, site := range sites {
			key := startKey{start.Topic, site}
			if !slices.Contains(s.starts[key], &own) {
				s.starts[key] = append(s.starts[key], &own)
			}
		}
	}
	for _, topic := range own.Awaits() {
		s.awaits[topic] = true
	}
}

// Len returns the number of programs.
func (s *Set) Len() int { return len(s.programs) }

// Programs returns the programs, in their order.
func (s *Set) Programs() []*Program { return slices.Clone(s.programs) }

// Program returns the program of the name.
func (s *Set) Program(name string) (*Program, bool) {
	i := slices.IndexFunc(s.programs, func(p *Program) bool { return p.Name == name })
	if i < 0 {
		return nil, false
	}
	return s.programs[i], true
}

// Rules returns the rules as they were written, with names and defaults filled
// in.
func (s *Set) Rules() []Rule {
	rules := make([]Rule, len(s.programs))
	for i, p := range s.programs {
		rules[i] = p.Rule
	}
	return rules
}

// Warnings returns what the linter noticed in any program, and accepts.
func (s *Set) Warnings() []Problem {
	var all []Problem
	for _, p := range s.programs {
		all = append(all, p.Warnings...)
	}
	return all
}

// Starting returns the programs that what happened on the site may start, in
// their order. The cost depends on these alone.
func (s *Set) Starting(happened Topic, site string) []*Program {
	var lists [8][]*Program
	n := 0
	topics, wide := happened.covering()
	for _, topic := range topics[:wide] {
		for _, at := range [2]string{site, ""} {
			if list := s.starts[startKey{topic, at}]; len(list) > 0 {
				lists[n] = list
				n++
			}
		}
	}
	switch n {
	case 0:
		return nil
	case 1:
		return lists[0]
	}
	all := slices.Concat(lists[:n]...)
	slices.SortFunc(all, func(a, b *Program) int { return a.order - b.order })
	return slices.Compact(all)
}

// Awaited reports whether any program may wait for what happened, or be
// cancelled by it.
func (s *Set) Awaited(happened Topic) bool {
	topics, n := happened.covering()
	return slices.ContainsFunc(topics[:n], func(t Topic) bool { return s.awaits[t] })
}

// covering returns the topics that cover what happened, itself first, and how
// many there are.
func (t Topic) covering() (topics [2]Topic, n int) {
	topics[0] = t
	switch {
	case t.Kind == "" && t.Provider != "":
		topics[1] = Topic{Name: t.Name}
	case t.Kind != "" && t.Name != "":
		topics[1] = Topic{Kind: t.Kind}
	default:
		return topics, 1
	}
	return topics, 2
}

// typeOf returns the type of `event` for the topic.
func (l *language) typeOf(t Topic) *cel.Type {
	if t.Kind != "" {
		return l.known["trigger"].typ
	}
	if s := l.known[factShape(t.Name)]; s != nil {
		return s.typ
	}
	return cel.DynType
}

func anyMap(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}
