package app

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/bigquery"
	"github.com/parley-chat/parley/internal/telemetry"
)

// backfillCmd stores events of the past from files.
type backfillCmd struct {
	Files   []string `arg:"" placeholder:"FILE" help:"Files with one event in each line; they may be packed with gzip."`
	Source  string   `required:"" placeholder:"NAME" help:"What the lines are: ga4export for rows of the GA4 export in BigQuery, a source under ingest.sources, or a type of source, such as segment."`
	Site    string   `short:"s" help:"The site's name, or a page of it. Default: the source's, or the site of each event's page."`
	Rate    int      `placeholder:"N" help:"Store at most so many events in a second. Default: as many as can be."`
	Live    bool     `help:"Let workflows act on the events as if they happened now."`
	State   string   `placeholder:"FILE" help:"Keep here how far it is. Default: beside the first file, with .backfill.json at the end."`
	Restart bool     `help:"Begin anew, whatever was done before."`
	DryRun  bool     `help:"Check everything, and store nothing."`
}

// Help is the long help.
func (*backfillCmd) Help() string {
	return `Stores events that happened before, for back-tests: nothing acts on them, unless --live is given. Each event is stored once, however often it is filled in. Lines that are wrong are printed, with the reason, and are on the rejected list.

Stop it when you like: the same command goes on where it stopped. Example:

  publisher backfill events-*.json.gz --source ga4export --site shop --rate 2000`
}

// Run stores the events.
func (f *backfillCmd) Run(ctx context.Context, c *cli) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	job := &backfill{cli: c, cmd: f, limit: rate.NewLimiter(rate.Inf, 0), batch: backfillLines}
	if f.Rate > 0 {
		job.batch = max(1, min(f.Rate/5, backfillLines))
		job.limit = rate.NewLimiter(rate.Limit(f.Rate), job.batch)
	}
	options, err := job.prepare(cfg)
	if err != nil {
		return err
	}
	if f.DryRun {
		options.Store = noStore{}
	} else {
		b, err := c.connect(ctx, cfg)
		if err != nil {
			return err
		}
		defer c.close(ctx, b)
		identities, err := b.KV(ctx, bus.BucketIdentities)
		if err != nil {
			return fmt.Errorf("opening the identities: %w", err)
		}
		options.Store, options.Identities, options.IdentityLife = ingest.OnBus(b), ingest.OnKV(identities), cfg.Ingest.Remember
	}
	if job.edge, err = ingest.New(c.log, options); err != nil {
		return fmt.Errorf("preparing the back-fill: %w", err)
	}
	return job.run(ctx)
}

// prepare finds out what the lines are, and where they go.
func (j *backfill) prepare(cfg *Config) (ingest.Options, error) {
	mount, err := j.source(cfg)
	if err != nil {
		return ingest.Options{}, err
	}
	if j.cmd.Site != "" {
		if mount.Site, err = cfg.FindSite(j.cmd.Site); err != nil {
			return ingest.Options{}, err
		}
	}
	j.name = mount.Settings.Name
	return ingest.Options{
		Sources: []ingest.Mount{mount}, Site: cfg.FindSite, Validate: j.schemas.Validate, Counter: telemetry.NewMetrics(),
		IsSite: func(name string) bool { _, ok := cfg.Sites[name]; return ok },
	}, nil
}

// source returns the source that --source names.
func (j *backfill) source(cfg *Config) (ingest.Mount, error) {
	if j.cmd.Source == bigquery.Provider {
		j.read = func(_ context.Context, line []byte, _ time.Time) []ingest.Item {
			return []ingest.Item{bigquery.Read(line)}
		}
		return ingest.Mount{Settings: ingest.Settings{Name: bigquery.Provider, Type: bigquery.Provider}, Source: noSource{}}, nil
	}
	mount := ingest.Mount{Settings: ingest.Settings{Name: j.cmd.Source, Type: j.cmd.Source}}
	if from, ok := cfg.Ingest.Sources[j.cmd.Source]; ok {
		mount.Settings.Type, mount.Settings.Mapping, mount.Site = from.Type, from.Mapping, from.Site
	} else if !slices.Contains(sourceTypes(), j.cmd.Source) {
		return mount, fault.New(fault.BadConfig, "%q is neither a source nor a type of one", j.cmd.Source).
			WithFix("use %s, a source of the configuration, or one of %s", bigquery.Provider, joinComma(sourceTypes()))
	}
	mount.Settings.Open = true // Whoever may read the file and write the bus is proved.
	source, err := newSource(mount.Settings)
	if err != nil {
		return mount, err
	}
	route := slices.IndexFunc(source.Routes(), func(r ingest.Route) bool { return r.Path == "" && slices.Contains(r.Types, ingest.MediaJSON) })
	if route < 0 {
		return mount, fault.New(fault.BadConfig, "events of the type %s are not one line each", mount.Settings.Type).
			WithFix("segment reads the events of Segment's and RudderStack's libraries too")
	}
	mount.Source = source
	j.read = func(ctx context.Context, line []byte, at time.Time) []ingest.Item {
		received, err := source.Receive(ctx, &ingest.Request{
			Method: source.Routes()[route].Method, Type: ingest.MediaJSON, Body: line, At: at, Token: true,
		})
		if err != nil {
			return []ingest.Item{{Raw: line, Err: err}}
		}
		return received.Items
	}
	return mount, nil
}

// noSource is a source whose events come from files only.
type noSource struct{}

// Routes implements ingest.Source.
func (noSource) Routes() []ingest.Route { return nil }

// Receive implements ingest.Source.
func (noSource) Receive(context.Context, *ingest.Request) (ingest.Received, error) {
	return ingest.Received{}, nil
}

// Answer implements ingest.Source.
func (noSource) Answer(r *ingest.Request, o ingest.Outcome) ingest.Reply {
	return ingest.Standard(r, o)
}

// noStore takes everything and keeps nothing.
type noStore struct{}

// Accept implements ingest.Store.
func (noStore) Accept(_ context.Context, events []ingest.Event) []ingest.Stored {
	return make([]ingest.Stored, len(events))
}

// Reject implements ingest.Store.
func (noStore) Reject(context.Context, string, event.Envelope) error { return nil }
