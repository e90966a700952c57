package workflow

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"github.com/robfig/cron/v3"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
)

// starts compiles what starts the workflow.
func (l *linter) starts() {
	p := l.program
	if len(p.On) == 0 {
		l.report("on", "write `on: {trigger: track, event: …}`", "the rule listens to nothing")
	}
	for i := range p.On {
		at := "on"
		if l.source.Line("on[0]") > 0 {
			at = fmt.Sprintf("on[%d]", i)
		}
		if start, ok := l.start(&p.On[i], at); ok {
			p.Starts = append(p.Starts, start)
		}
	}
	for i, promise := range p.Requires {
		if known := []string{RequireConsent, RequireDisclosure}; !slices.Contains(known, promise) {
			l.report(fmt.Sprintf("requires[%d]", i), among(promise, known), "nothing is known of the requirement %q", promise)
		}
	}
	discloses := func(site actions.Site) bool { return site.Disclosure }
	if slices.Contains(p.Requires, RequireDisclosure) && !slices.ContainsFunc(l.reach(), discloses) {
		l.warn("requires", "set `disclosure: true` on the sites whose widget says it",
			"no site that it may start on tells that a machine answers, so it never starts")
	}
	if h := p.Holdout; h != nil && (h.Percent <= 0 || h.Percent >= 100) {
		l.report("holdout.percent", "use more than 0 and less than 100", "%v is no share of visitors to hold out", h.Percent)
	}
}

// start compiles one On.
func (l *linter) start(on *On, at string) (Start, bool) {
	given := 0
	for _, is := range []bool{on.Trigger != "" || on.Event != "", on.Schedule != "", on.Manual != nil} {
		if is {
			given++
		}
	}
	start := Start{Sites: l.onSites(on, at)}
	switch {
	case given > 1:
		l.report(at, "make a list of them: `on: [{…}, {…}]`", "it is more than one of trigger, event, schedule and manual")
		return start, false
	case on.Schedule != "":
		start.Topic = Topic{Kind: event.KindSchedule, Name: l.program.Name}
		start.Schedule = l.schedule(on, at)
		return start, start.Schedule != nil
	case on.Manual != nil:
		if !*on.Manual {
			l.report(at+".manual", "remove it", "a workflow that nobody starts by hand does not say so")
		}
		start.Topic = Topic{Kind: event.KindManual, Name: l.program.Name}
		return start, true
	}
	topic, ok := l.topic(on.Trigger, on.Event, at)
	start.Topic = topic
	return start, ok
}

// onSites returns the sites of an On.
func (l *linter) onSites(on *On, at string) []string {
	if on.Site != "" && len(on.Sites) > 0 {
		l.report(at+".site", "add it to `sites`", "write site or sites, not both")
	}
	sites := slices.Clone(on.Sites)
	if on.Site != "" {
		l.site(on.Site, at+".site")
		sites = append(sites, on.Site)
	}
	for i, site := range on.Sites {
		l.site(site, fmt.Sprintf("%s.sites[%d]", at, i))
	}
	return sites
}

func (l *linter) site(name, at string) {
	known := make([]string, len(l.sites))
	for i, site := range l.sites {
		known[i] = site.Name
	}
	if !slices.Contains(known, name) {
		l.report(at, among(name, known), "there is no site %q", name)
	}
}

// topic compiles what is listened to: a kind of trigger, or a fact.
func (l *linter) topic(trigger, name, at string) (Topic, bool) {
	kinds := event.TriggerKinds()
	switch {
	case trigger != "" && !slices.Contains(kinds, trigger):
		l.report(at+".trigger", among(trigger, kinds), "%q is not a kind of trigger", trigger)
		return Topic{}, false
	case trigger != "":
		return Topic{Kind: trigger, Name: name}, true
	case name == "":
		fix := "write `{trigger: track, event: …}`, or a fact: `{event: widget.closed}`"
		if at == "on" {
			fix = "write `on: {trigger: track, event: …}`"
		}
		l.report(at, fix, "the rule listens to nothing")
		return Topic{}, false
	}
	provider, fact := splitFact(name)
	facts := slices.Sorted(maps.Keys(event.Facts()))
	if _, known := event.Facts()[fact]; !known {
		fix := among(name, facts)
		if strings.ContainsAny(name, " ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			fix = "if it is an event of your analytics tool, add `trigger: track`; the facts are " + strings.Join(facts, ", ")
		}
		l.report(at+".event", fix, "no fact is called %q", name)
		return Topic{}, false
	}
	if _, known := l.catalog.Provider(provider); provider != "" && !known {
		var names []string
		for _, p := range l.catalog.Providers() {
			names = append(names, p.Name)
		}
		l.report(at+".event", among(provider, names), "there is no provider %q", provider)
		return Topic{}, false
	}
	return Topic{Name: fact, Provider: provider}, true
}

// splitFact splits a fact's name, with or without its provider.
func splitFact(name string) (provider, fact string) {
	if strings.Count(name, ".") == 2 {
		provider, fact, _ = strings.Cut(name, ".")
		return provider, fact
	}
	return "", name
}

// started returns the type of `event` where it is what started the run.
func (l *linter) started() *cel.Type {
	var kind *cel.Type
	if l.spoilt("on") {
		return cel.DynType
	}
	for _, start := range l.program.Starts {
		is := l.language.typeOf(start.Topic)
		if kind != nil && !kind.IsExactType(is) {
			return cel.DynType
		}
		kind = is
	}
	if kind == nil {
		return cel.DynType
	}
	return kind
}

// schedule compiles a workflow's clock. It is nil when something is wrong.
func (l *linter) schedule(on *On, at string) *Schedule {
	before := len(l.problems)
	sites := slices.Clone(on.Sites)
	if on.Site != "" {
		sites = append(sites, on.Site)
	}
	if len(sites) != 1 {
		l.report(at, "add `site: …`", "a schedule runs on one site, and this names %d", len(sites))
	}
	zone := l.zone(on.Zone, at+".zone")
	text := strings.TrimSpace(on.Schedule)
	clock, err := parseSchedule(text, zone)
	if err != nil {
		l.report(at+".schedule", `write minute, hour, day, month and weekday, such as "0 9 * * 1-5", or @daily, or @every 1h`, "it is no schedule: %s", err)
	}
	visitor := event.Visitor{AnonymousID: "workflow-" + l.program.Name}
	if who := on.Visitor; who != nil {
		visitor = event.Visitor{UserID: who.UserID, Email: who.Email, AnonymousID: who.AnonymousID}
	}
	if visitor.Key() == "" {
		l.report(at+".visitor", "name a user_id, an email or an anonymous_id", "it names no visitor")
	}
	if len(l.problems) > before {
		return nil
	}
	return &Schedule{Text: text, Site: sites[0], Visitor: visitor, next: clock}
}

// parseSchedule reads a cron expression.
func parseSchedule(text string, zone *time.Location) (func(time.Time) time.Time, error) {
	if strings.Contains(text, "TZ=") {
		return nil, errors.New("the zone stands in `zone`")
	}
	parsed, err := cron.ParseStandard(text)
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	if spec, ok := parsed.(*cron.SpecSchedule); ok {
		spec.Location = zone
	}
	if parsed.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, errors.New("such a day never comes")
	}
	return parsed.Next, nil
}

// zone returns the time zone of the name; "" is UTC.
func (l *linter) zone(name, at string) *time.Location {
	if name == "" {
		return time.UTC
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		fix := `write a name of the IANA list, such as "Europe/Berlin"`
		if near := nearZone(name); near != "" {
			fix = fmt.Sprintf("did you mean %q?", near)
		}
		l.report(at, fix, "there is no time zone %q", name)
		return time.UTC
	}
	return zone
}

// limits compiles the limits.
func (l *linter) limits() {
	given, b := l.program.Limits, &l.program.Bounds
	if given == nil {
		return
	}
	b.OncePer, b.Debounce = time.Duration(given.OncePer), time.Duration(given.Debounce)
	if given.PerSite != "" {
		rate, ok := parseRate(given.PerSite)
		if !ok {
			l.report("limits.per_site", "write a number and a time: 100/h, 5/s, 20/10m", "%q is not a rate", given.PerSite)
		}
		b.PerSite = rate
	}
	if given.QuietHours != nil {
		b.Quiet = l.quiet(given.QuietHours)
	}
	if c := given.Concurrency; c != nil {
		b.Exclusive, b.OnConflict = true, l.choice("limits.concurrency.on_conflict", c.OnConflict, "skip", "queue", "replace")
		if c.Key != "" {
			b.Key = l.expression("limits.concurrency.key", c.Key, l.started(), "text, a number or true or false",
				cel.StringType, cel.IntType, cel.UintType, cel.DoubleType, cel.BoolType)
			if b.Key != nil && len(b.Key.refs) > 0 {
				l.report("limits.concurrency.key", "read the trigger or the visitor", "no step has run yet when this is evaluated")
			}
		}
	}
	for i, match := range given.CancelOn {
		at := fmt.Sprintf("limits.cancel_on[%d]", i)
		if topic, ok := l.topic(match.Trigger, match.Event, at); ok {
			b.CancelOn = append(b.CancelOn, Cancel{topic, l.condition(at+".if", match.If, l.language.typeOf(topic), true)})
		}
	}
}

// choice returns the value, or the first of the known ones when there is none.
func (l *linter) choice(at, value string, known ...string) string {
	if value == "" {
		return known[0]
	}
	if !slices.Contains(known, value) {
		l.report(at, among(value, known), "%q is none of the choices", value)
	}
	return value
}

// quiet compiles quiet hours.
func (l *linter) quiet(given *QuietHours) *Quiet {
	const at = "limits.quiet_hours"
	q := &Quiet{Zone: l.zone(given.Zone, at+".zone"), Wait: l.choice(at+".do", given.Do, "skip", "wait") == "wait"}
	for _, edge := range []struct {
		name, text string
		to         *int
	}{{"from", given.From, &q.From}, {"to", given.To, &q.To}} {
		minutes, ok := parseClock(edge.text)
		if !ok {
			l.report(at+"."+edge.name, `write hours and minutes in quotes: "22:00"`, "%q is not a time of day", edge.text)
		}
		*edge.to = minutes
	}
	if given.From != "" && given.From == given.To {
		l.report(at, "let them end later or earlier", "the quiet hours begin and end at the same time")
	}
	return q
}

// reach returns the sites on which the workflow may start.
func (l *linter) reach() []actions.Site {
	return slices.DeleteFunc(slices.Clone(l.sites), func(site actions.Site) bool {
		return !slices.ContainsFunc(l.program.Starts, func(start Start) bool { return start.On(site.Name) })
	})
}
