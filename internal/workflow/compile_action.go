package workflow

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// portable is the provider of a portable verb: each site's own.
const portable = "chat."

// Spec returns the action for a site of the provider.
func (a *ActionOp) Spec(provider string) (actions.Spec, error) {
	for _, key := range []string{provider, ""} {
		if spec, ok := a.Specs[key]; ok {
			return spec, nil
		}
	}
	return actions.Spec{}, fault.New(fault.UnsupportedProvider, "%s has no action %s", provider, a.Name)
}

// Command is a command that an action asks for.
type Command struct {
	Spec    actions.Spec
	Command event.Command
	// Data is the command as JSON, which fits the schema of the action.
	Data []byte
}

// Command returns the step's command for the visitor on the site.
func (a *ActionOp) Command(v *Vars, site actions.Site, visitor event.Visitor, schemas Validator) (Command, error) {
	spec, err := a.Spec(site.Provider)
	if err != nil {
		return Command{}, err
	}
	command, data, err := a.data(spec, site.Name, visitor, v)
	if err != nil {
		return Command{}, err
	}
	if err := schemas.Validate(event.CommandType(spec.Name), data); err != nil {
		return Command{}, fault.New(fault.BadRule, "the parameters of %s do not fit", spec.Name).Because(err)
	}
	return Command{spec, command, data}, nil
}

// data returns the command, also as JSON, unchecked.
func (a *ActionOp) data(spec actions.Spec, site string, visitor event.Visitor, v *Vars) (event.Command, []byte, error) {
	params, err := a.Params.Value(v)
	if err != nil {
		return event.Command{}, nil, fmt.Errorf("params: %w", err)
	}
	raw, err := json.Marshal(params)
	if err != nil {
		return event.Command{}, nil, fault.New(fault.BadRule, "encoding the parameters: %s", err)
	}
	command := event.Command{Site: site, Visitor: visitor, Params: raw, AutoBoot: a.AutoBoot}
	if a.Timeout > 0 {
		command.TimeoutMS = new(int(a.Timeout.Milliseconds()))
	}
	if a.Name != spec.Name && !strings.HasPrefix(a.Name, portable) {
		command.Alias = a.Name
	}
	data, err := json.Marshal(command)
	if err != nil {
		return event.Command{}, nil, fmt.Errorf("encoding the command: %w", err)
	}
	return command, data, nil
}

// action compiles an action, and fills in its defaults.
func (b *builder) action(step *Step, at string, op Op) *ActionOp {
	if step.Expires == 0 {
		step.Expires = defaultExpiry
	}
	if step.Expires < time.Second {
		b.report(at+".expires", "use at least 1s", "%s is too short", step.Expires)
	}
	a := &ActionOp{
		Name: step.Action, Specs: b.resolve(step.Action, at+".action"),
		AutoBoot: step.AutoBoot, Timeout: step.Timeout, Expires: step.Expires,
	}
	a.Await, a.GoOn = b.result(step, at)
	b.strangers(a, at+".action", op)
	before := len(b.problems)
	a.Params = b.template(at+".params", anyMap(step.Params), b.sees(op))
	unwritten := len(b.problems) > before
	for _, provider := range slices.Sorted(maps.Keys(a.Specs)) {
		spec := a.Specs[provider]
		if bounds := spec.Timeout; step.Timeout != 0 && (step.Timeout < bounds.Min || step.Timeout > bounds.Max) {
			b.report(at+".timeout", fmt.Sprintf("use %s to %s", bounds.Min, bounds.Max), "%s is outside the bounds of %s", step.Timeout, spec.Name)
		}
		if !unwritten {
			b.params(spec, *step, a, at+".params")
		}
	}
	return a
}

// strangers warns of sites whose provider does not have the action. Inside a
// branch the workflow may have looked at the provider.
func (b *builder) strangers(a *ActionOp, at string, op Op) {
	spec, fixed := a.Specs[""]
	if !fixed || op.Depth > 0 {
		return
	}
	provider, verb, _ := strings.Cut(spec.Name, ".")
	var names []string
	for _, site := range b.reach() {
		if site.Provider != provider {
			names = append(names, site.Name)
		}
	}
	if len(names) == 0 {
		return
	}
	b.warn(at, fmt.Sprintf("use %s%s, or keep them out by `on.sites`", portable, verb),
		"it fails on sites of another provider: %s", strings.Join(names, ", "))
}

// result compiles await and on_error.
func (b *builder) result(step *Step, at string) (await, goOn bool) {
	goOn = b.choice(at+".on_error", step.OnError, "stop", "continue") == "continue"
	await = step.OnError != ""
	if step.Await != nil {
		if await && !*step.Await {
			b.report(at+".await", "remove one of them", "`on_error` needs the result, which this step does not wait for")
		}
		await = *step.Await
	}
	return await, goOn
}

// resolve returns the action by the provider of the site; under "" when it is no
// portable verb.
func (l *linter) resolve(name, at string) map[string]actions.Spec {
	verb, ok := strings.CutPrefix(name, portable)
	if !ok {
		spec, _, err := l.catalog.Find(name)
		if err != nil {
			l.unknown(name, at, err)
			return nil
		}
		return map[string]actions.Spec{"": spec}
	}
	if known := l.portables(); !slices.Contains(known, name) {
		l.report(at, among(name, known), "no provider has the portable action %q", name)
		return nil
	}
	specs := map[string]actions.Spec{}
	for _, site := range l.reach() {
		spec, _, err := l.catalog.Find(site.Provider + "." + verb)
		if err == nil {
			specs[site.Provider] = spec
			continue
		}
		l.report(at, l.substitute(site.Provider, verb), "the site %s has the provider %s, which has no %s (%s)",
			site.Name, site.Provider, verb, fault.UnsupportedProvider)
	}
	return specs
}

// unknown reports an action that does not exist. Who wrote the verb alone, or
// with its object, meant the portable one.
func (l *linter) unknown(name, at string, err error) {
	known := l.portables()
	i := slices.IndexFunc(known, func(verb string) bool { return strings.HasSuffix(verb, "."+name) })
	if i < 0 {
		l.failed(at, err)
		return
	}
	l.report(at, fmt.Sprintf("did you mean %q?", known[i]), "%s", err)
}

// specs returns the distinct actions of the name, silently.
func (l *linter) specs(name string) []actions.Spec {
	quiet := *l
	quiet.problems = nil
	var specs []actions.Spec
	for _, spec := range quiet.resolve(name, "") {
		if !slices.ContainsFunc(specs, func(other actions.Spec) bool { return other.Name == spec.Name }) {
			specs = append(specs, spec)
		}
	}
	return specs
}

// portables returns the portable verbs of all providers, sorted.
func (l *linter) portables() []string {
	var names []string
	for _, spec := range l.catalog.Actions() {
		_, verb, _ := strings.Cut(spec.Name, ".")
		names = append(names, portable+verb)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// substitute returns the fix for a verb that the provider does not have.
func (l *linter) substitute(provider, verb string) string {
	p, _ := l.catalog.Provider(provider)
	object, _, _ := strings.Cut(verb, ".")
	var same, all []string
	for _, spec := range p.Actions {
		all = append(all, spec.Name)
		if strings.HasPrefix(spec.Name, provider+"."+object+".") {
			same = append(same, spec.Name)
		}
	}
	near := fault.Nearest(provider+"."+verb, all)
	switch {
	case near != "":
		return fmt.Sprintf("use %s there, in a branch on site.provider; or keep the site out by `on.sites`", near)
	case len(same) > 0:
		return fmt.Sprintf("%s offers %s; or keep the site out by `on.sites`", provider, strings.Join(same, ", "))
	}
	return "keep the site out by `on.sites`"
}

// params checks parameters that do not depend on the trigger against the
// schema of the command. Of the others it checks the names; their values are
// checked when they are known.
func (l *linter) params(spec actions.Spec, step Step, a *ActionOp, at string) {
	whole := a.Params.Static()
	if before := len(l.problems); !whole {
		if l.names(spec, step, at); len(l.problems) > before {
			return
		}
	}
	part := staticPart(a.Params)
	fixed := *a
	fixed.Params = part
	_, data, err := fixed.data(spec, "site", event.Visitor{UserID: "u"}, nil)
	if err == nil {
		err = l.schemas.Validate(event.CommandType(spec.Name), data)
	}
	if err == nil {
		return
	}
	problem := fault.From(err)
	pointer, ofParams := strings.CutPrefix(problem.Field, "/params")
	if !ofParams {
		return // The linter has said it in the rule's own words.
	}
	if name, _, _ := strings.Cut(strings.TrimPrefix(pointer, "/"), "/"); !whole && !part.has(name) {
		return // Only what is fixed can be judged here.
	}
	l.report(at+strings.ReplaceAll(pointer, "/", "."),
		fmt.Sprintf("`publisher actions %s` prints the schema", spec.Name), "%s", problem.Message)
}

// staticPart returns the parameters that are the same for all variables.
func staticPart(params Template) object {
	part := object{fields: map[string]Template{}}
	all, _ := params.(object)
	for _, key := range all.keys {
		if t := all.fields[key]; t.Static() {
			part.keys = append(part.keys, key)
			part.fields[key] = t
		}
	}
	return part
}

func (t object) has(key string) bool { return t.fields[key] != nil }

// names checks the names of parameters.
func (l *linter) names(spec actions.Spec, step Step, at string) {
	var schema struct {
		Properties struct{ Params jsonSchema }
	}
	if err := json.Unmarshal(l.schemas.Source(event.CommandType(spec.Name)), &schema); err != nil {
		l.failed(at, fmt.Errorf("reading the schema of %s: %w", spec.Name, err))
		return
	}
	params := schema.Properties.Params
	for _, name := range slices.Sorted(maps.Keys(step.Params)) {
		if _, known := params.Properties[name]; !known && string(params.AdditionalProperties) == "false" {
			l.report(at+"."+name, among(name, slices.Sorted(maps.Keys(params.Properties))), "%s has no parameter %q", spec.Name, name)
		}
	}
	for _, name := range params.Required {
		if _, given := step.Params[name]; !given {
			l.report(at, "add it", "%s needs the parameter %q", spec.Name, name)
		}
	}
}
