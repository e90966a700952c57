package actions

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Provider is one vendor: its actions and its in-page driver.
type Provider struct {
	Name    string
	Actions []Spec
	Driver  Driver
	// Further are the drivers of pages of another kind, such as webviews, by name.
	// In a visitor's own tab they share the document with Driver.
	Further map[string]Driver
	// Hosts are the vendor's host names that a session's page may reach, beside
	// the site's own.
	Hosts []string
	// Modes are the widget's modes.
	Modes []string
	// Light returns the document of a light page: minimal, at the site's own
	// address.
	Light func(Site) string
	// Observe looks at the page and says which facts hold: the presence check.
	Observe func(ctx context.Context, env Env) (Facts, error)
	// Digest takes a signal of the driver: it keeps the state up to date and
	// says which fact, if any, is to be published.
	Digest func(state *State, signal Signal) (Notice, bool)
	// Restore makes a new page be as env.State says, which is what was true of the
	// session's last page: the widget mounted for the same user in the same mode,
	// its window open or closed, our listeners registered. It leaves in env.State
	// what is true of the new page. What the page reports of it is no fact: nobody
	// acted. Nil means that a new page begins empty.
	Restore func(ctx context.Context, env Env) error
	// CheckAppID says what is wrong with an app id, or nil.
	CheckAppID func(appID string) error
	// Title is the vendor's name for people.
	Title string
}

// Facts are the facts that hold.
type Facts map[Fact]bool

// Catalog is the set of all providers and actions. It never changes.
type Catalog struct {
	providers []Provider
	byName    map[string]*Spec
	byAlias   map[string]*Spec
	aliases   map[string]Alias
}

// NewCatalog returns the catalogue of the providers. It refuses a name or an
// alias that is used twice.
func NewCatalog(providers ...Provider) (*Catalog, error) {
	c := &Catalog{
		providers: providers, byName: map[string]*Spec{},
		byAlias: map[string]*Spec{}, aliases: map[string]Alias{},
	}
	for p := range providers {
		for i := range providers[p].Actions {
			spec := &providers[p].Actions[i]
			if !event.IsAction(spec.Name) || c.byName[spec.Name] != nil {
				return nil, fault.New(fault.InternalError, "the action name %q is illegal or used twice", spec.Name)
			}
			c.byName[spec.Name] = spec
			for _, alias := range spec.Aliases {
				key := aliasKey(alias.Name)
				if c.byAlias[key] != nil {
					return nil, fault.New(fault.InternalError, "the alias %q is used twice", alias.Name)
				}
				c.byAlias[key], c.aliases[key] = spec, alias
			}
		}
	}
	return c, nil
}

// aliasKey folds case and space, so that a title can be typed as a person
// remembers it.
func aliasKey(name string) string {
	return strings.Join(strings.Fields(strings.ToLower(name)), " ")
}

// Find returns the action of the name or alias. alias is the zero Alias when
// the name is the action's own.
func (c *Catalog) Find(name string) (spec Spec, alias Alias, err error) {
	if s := c.byName[name]; s != nil {
		return *s, Alias{}, nil
	}
	if s := c.byAlias[aliasKey(name)]; s != nil {
		return *s, c.aliases[aliasKey(name)], nil
	}
	unknown := fault.New(fault.UnknownAction, "no action is called %q", name)
	if near := Nearest(name, slices.Collect(maps.Keys(c.byName))); near != "" {
		unknown = unknown.WithFix("did you mean %s? `publisher actions` lists the names", near)
	}
	return Spec{}, Alias{}, unknown
}

// Provider returns the provider of the name.
func (c *Catalog) Provider(name string) (Provider, bool) {
	i := slices.IndexFunc(c.providers, func(p Provider) bool { return p.Name == name })
	if i < 0 {
		return Provider{}, false
	}
	return c.providers[i], true
}

// Providers returns every provider, in the order of the catalogue.
func (c *Catalog) Providers() []Provider { return slices.Clone(c.providers) }

// Actions returns every action, in the order of the providers.
func (c *Catalog) Actions() []Spec {
	var all []Spec
	for _, p := range c.providers {
		all = append(all, p.Actions...)
	}
	return all
}

// Makers returns the actions of the provider that make the fact.
func (c *Catalog) Makers(provider string, fact Fact) []Spec {
	p, _ := c.Provider(provider)
	var makers []Spec
	for _, spec := range p.Actions {
		if slices.Contains(spec.Makes, fact) {
			makers = append(makers, spec)
		}
	}
	return makers
}

// Nearest is [fault.Nearest].
func Nearest(name string, known []string) string { return fault.Nearest(name, known) }
