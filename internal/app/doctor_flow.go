package app

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow"
)

// sources lists the senders of events, and reads their secrets.
func (d *doctor) sources(cfg *Config) {
	names := slices.Sorted(maps.Keys(cfg.Ingest.Sources))
	switch {
	case len(names) == 0 && cfg.Ingest.Listen == "":
		d.found(well, "sources", "none: events come in by `publisher track` only", "")
	case len(names) == 0:
		d.found(ill, "sources", "ingest.listen is set, and there is none", "add one under ingest.sources; docs/ingest.md shows how")
	case cfg.Ingest.Listen == "":
		d.found(odd, "sources", "ingest.listen is empty, so only `publisher serve --listen HOST:PORT` takes their events", "")
	}
	for _, name := range names {
		from := cfg.Ingest.Sources[name]
		if _, err := cfg.mount(name, d.Env); err != nil {
			if cfg.Ingest.Listen == "" || !cfg.does(roleIngest) { // Another process takes them, and has the secrets.
				d.found(odd, "source", err.Error(), fault.From(err).Fix)
			} else {
				d.wrong("source", err)
			}
			continue
		}
		site, proof := from.Site, "anybody may send"
		if site == "" {
			site = "the site of each event's page"
		}
		if secrets, tokens := len(from.Secrets), len(from.Token); secrets+tokens > 0 {
			proof = plural(secrets, "secret") + " and " + plural(tokens, "token") + " can be read"
		}
		d.found(well, "source", fmt.Sprintf("%s: %s at %s, for %s; %s", name, from.Type, from.Path, site, proof), "")
	}
}

// rules lists the workflows of the files, with what they warn of and the secrets
// that they sign with.
func (d *doctor) rules(cfg *Config) {
	set, err := LoadRules(cfg, d.catalog, d.schemas)
	if err != nil {
		d.wrong("rules", err)
		return
	}
	d.found(well, "rules", fmt.Sprintf("%d compiled", set.Len()), "")
	for _, p := range set.Programs() {
		d.found(well, "workflow", p.Name+", on "+startsOf(p)+", from "+p.File, "")
		d.signs(p)
	}
	for _, warning := range set.Warnings() {
		d.found(odd, "workflow", fmt.Sprint(warning), "")
	}
}

// signs tries the secrets of the workflow's http steps.
func (d *doctor) signs(p *workflow.Program) {
	for _, op := range p.Ops {
		if op.HTTP == nil || op.HTTP.Secret == "" {
			continue
		}
		if _, err := readSecret(Secret(op.HTTP.Secret), d.Env); err != nil {
			d.wrong("workflow", fmt.Errorf("%s, step %s: %w", p.Name, op.ID, err))
		}
	}
}

// published lists the workflows that are switched on, on the bus.
func (d *doctor) published(ctx context.Context, b *bus.Bus, cfg *Config) {
	compiler, err := workflow.NewCompiler(d.catalog, d.schemas, cfg.AllSites())
	if err != nil {
		d.wrong("workflow", err)
		return
	}
	bucket, err := b.KV(ctx, bus.BucketFlows)
	if err != nil {
		d.wrong("workflow", err)
		return
	}
	versions := workflow.NewVersions(bucket)
	names, err := versions.Names(ctx)
	if err != nil {
		d.wrong("workflow", err)
		return
	}
	desk := &desk{cli: d.cli, cfg: cfg, compiler: compiler, bus: b, versions: versions}
	for _, name := range names {
		one, err := desk.listed(ctx, name)
		switch {
		case err != nil:
			d.wrong("workflow", err)
		case one.Version == 0:
			d.found(well, "workflow", name+" is switched off", "")
		case one.Problem != "":
			d.found(ill, "workflow", fmt.Sprintf("%s, version %d, cannot be read: %s", name, one.Version, one.Problem),
				"publish a corrected version, or switch it off: publisher workflows off "+name)
		default:
			d.found(well, "workflow", fmt.Sprintf("%s is on, version %d, on %s", name, one.Version, strings.Join(one.On, "; ")), "")
		}
	}
}

// startsOf says what starts the workflow.
func startsOf(p *workflow.Program) string {
	var all []string
	for _, start := range p.Starts {
		all = append(all, start.Topic.String())
	}
	return strings.Join(all, "; ")
}
