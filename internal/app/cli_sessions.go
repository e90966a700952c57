package app

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/session"
)

// sessionsCmd is what an operator does with sessions.
type sessionsCmd struct {
	List  sessionsListCmd  `cmd:"" help:"List the sessions that the workers remember."`
	Show  sessionsShowCmd  `cmd:"" help:"Show what is known of one session."`
	Evict sessionsEvictCmd `cmd:"" help:"Store a session and close its page; its next command brings it back."`
	Pin   sessionsPinCmd   `cmd:"" help:"Keep a session's page open, however long it is idle and whoever needs a place."`
	Unpin sessionsUnpinCmd `cmd:"" help:"Let a session's page be closed again."`
	Erase sessionsEraseCmd `cmd:"" help:"Forget a visitor: page, stored session and profile. It cannot be undone."`
}

// whichSession is a session that a person names.
type whichSession struct {
	Session string `arg:"" help:"SITE/KEY as the list shows it, or the beginning of the key."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

// sessionsListCmd lists sessions.
type sessionsListCmd struct {
	Site   string `short:"s" help:"Only this site."`
	State  string `enum:",held,hibernated" default:"" placeholder:"STATE" help:"Only those that are held, with a page, or hibernated."`
	Worker string `placeholder:"NAME" help:"Only those of this worker."`
	Most   int    `short:"n" default:"50" placeholder:"N" help:"Show so many of each worker at most: 50."`
	JSON   bool   `name:"json" help:"Print JSON, one session per line."`
}

// Help is the long help.
func (*sessionsListCmd) Help() string {
	return `A session is shown by its opaque key, never by the visitor's name. Those with a page come first, the last used ones first. A session that no worker remembers may still be stored: show finds it by its whole key.`
}

// Run lists.
func (l *sessionsListCmd) Run(ctx context.Context, c *cli) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	q := question{State: l.State, Most: l.Most}
	if l.Site != "" {
		if q.Site, err = c.site(cfg, l.Site); err != nil {
			return err
		}
	}
	f, err := c.fleet(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.close(ctx, f.bus)
	if l.Worker != "" {
		if f.members, err = f.only(l.Worker); err != nil {
			return err
		}
	}
	if _, err := f.needed(); err != nil {
		return err
	}
	list, total, err := f.sessions(ctx, q)
	if err != nil && len(list) == 0 {
		return err
	}
	if err != nil { // Some have answered.
		_, _ = fmt.Fprintf(c.Stderr, "warning: %s\n", err)
	}
	if l.JSON {
		for _, one := range list {
			if err := writeJSON(c.Stdout, one, ""); err != nil {
				return err
			}
		}
		return nil
	}
	_, err = fmt.Fprint(c.Stdout, view{colour: c.Terminal.Out}.sessions(list, total, time.Now()))
	return err
}

// sessions shows a list of sessions.
func (v view) sessions(list []found, total int, now time.Time) string {
	if len(list) == 0 {
		return "no sessions\n"
	}
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "SESSION\tSTATE\tWINDOW\tMODE\tUSED\tSTORED\tWORKER")
	for _, s := range list {
		_, _ = fmt.Fprintf(table, "%s/%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Site, s.Session, stateOf(s.Info), windowOf(s.Info),
			orDash(s.Mode), ago(s.UsedAt, now), storedAt(s.Info, now), s.Worker)
	}
	_ = table.Flush() // A strings.Builder takes all.
	if total > len(list) {
		fmt.Fprintf(&b, "\n%d of %d; choose with --site, --state and --worker, or show more with -n.\n", len(list), total)
	}
	fmt.Fprintf(&b, "\nShow one: worker sessions show %s/%s\n", list[0].Site, list[0].Session)
	return b.String()
}

func stateOf(i session.Info) string {
	state := i.State
	if i.Busy {
		state += ", busy"
	}
	if i.Pinned {
		state += ", pinned"
	}
	return state
}

func windowOf(i session.Info) string {
	switch {
	case i.Busy, !i.Booted:
		return "-"
	case i.Open:
		return "open"
	}
	return "closed"
}

// storedAt says when and how large the session was stored.
func storedAt(i session.Info, now time.Time) string {
	if i.SavedAt.IsZero() {
		return "-"
	}
	text := ago(i.SavedAt, now) + ", " + showBytes(int64(i.Bytes))
	if i.Unsaved {
		text += ", changed since"
	}
	return text
}

// ago shows how long ago a time was.
func ago(at, now time.Time) string {
	d := now.Sub(at)
	switch {
	case at.IsZero():
		return "-"
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s ago"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m ago"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h ago"
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d ago"
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return printable(text)
}

// on finds the session and gives it to the function.
func (w whichSession) on(ctx context.Context, c *cli, do func(f *fleet, s found) error) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	f, err := c.fleet(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.close(ctx, f.bus)
	s, err := f.find(ctx, w.Session)
	if err != nil {
		return err
	}
	return do(f, s)
}

// tell has the worker that remembers the session do something with it, and says
// what was done.
func (w whichSession) tell(ctx context.Context, c *cli, verb, done, stored string) error {
	return w.on(ctx, c, func(f *fleet, s found) error {
		name := s.Site + "/" + s.Session
		if s.Worker == "" {
			return fault.New(fault.UnknownSession, "no worker remembers %s: it is stored only", name).WithFix("%s", stored)
		}
		if _, err := ask[struct{}](ctx, f.bus, s.Worker, verb, question{Key: s.Session}, evictTimeout); err != nil {
			return err
		}
		if w.JSON {
			return writeJSON(c.Stdout, map[string]string{"session": name, "worker": s.Worker, "done": verb}, "")
		}
		_, err := fmt.Fprintf(c.Stdout, "%s "+done+"\n", name, s.Worker)
		return err
	})
}

// evictTimeout bounds what waits for the command that has a session.
const evictTimeout = 60 * time.Second

// sessionsShowCmd shows one session.
type sessionsShowCmd struct{ whichSession }

// Run shows it.
func (s *sessionsShowCmd) Run(ctx context.Context, c *cli) error {
	return s.on(ctx, c, func(_ *fleet, one found) error {
		if s.JSON {
			return c.print(one)
		}
		_, err := fmt.Fprint(c.Stdout, view{colour: c.Terminal.Out}.session(one, time.Now()))
		return err
	})
}

// session shows what is known of one session.
func (v view) session(s found, now time.Time) string {
	var b strings.Builder
	row := func(name, value string) { fmt.Fprintf(&b, "%s %s\n", v.paint(dim, pad(name, 14)), value) }
	row("session", s.Site+"/"+s.Session)
	row("state", stateOf(s.Info))
	worker := s.Worker
	if worker == "" {
		worker = "none: its next command brings it back"
	}
	row("worker", worker)
	row("partition", fmt.Sprintf("%d, fence %d", s.Partition, s.Fence))
	if !s.Busy {
		row("widget", windowWord(s.Info))
		row("subscriptions", strconv.Itoa(s.Subscriptions))
		row("used", ago(s.UsedAt, now))
		row("stored", storedAt(s.Info, now))
	}
	if len(s.Dropped) > 0 {
		row("too large", strings.Join(s.Dropped, ", "))
	}
	return b.String()
}

func windowWord(i session.Info) string {
	if !i.Booted {
		return "not booted"
	}
	return "booted as " + orDash(i.Mode) + ", " + windowOf(i)
}

// sessionsEvictCmd hibernates a session.
type sessionsEvictCmd struct{ whichSession }

// Run evicts it. It waits for the command that has the session.
func (s *sessionsEvictCmd) Run(ctx context.Context, c *cli) error {
	return s.tell(ctx, c, verbEvict, "was stored by %s, and its page is closed", "nothing is to be done: it has no page")
}

// sessionsPinCmd pins a session.
type sessionsPinCmd struct{ whichSession }

// Run pins it.
func (s *sessionsPinCmd) Run(ctx context.Context, c *cli) error {
	return s.tell(ctx, c, verbPin, "keeps its page on %s, until it is unpinned, moves or its worker stops", "send it a command first, which opens its page")
}

// sessionsUnpinCmd unpins a session.
type sessionsUnpinCmd struct{ whichSession }

// Run unpins it.
func (s *sessionsUnpinCmd) Run(ctx context.Context, c *cli) error {
	return s.tell(ctx, c, verbUnpin, "may be closed by %s again", "nothing is to be done: it is not pinned")
}

// sessionsEraseCmd erases a visitor.
type sessionsEraseCmd struct {
	Site string `short:"s" help:"The site. May be left out when there is only one."`
	who
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is the long help.
func (*sessionsEraseCmd) Help() string {
	return `Erases the sessions of the ids that are given, and of the user ids and addresses that events have linked to them; then the links are forgotten too. Give every anonymous id that you know: each has a session of its own, and the links know it by a digest only. What is on the bus of a session, results and facts, names it by an opaque key; events that came in, and runs of workflows, hold what they came with. All of that ends by itself.

An event of the kind "delete" from a sender forgets the links, and no session.`
}

// Run erases on every worker: the one that owns the session has its page, and
// the others may remember it.
func (e *sessionsEraseCmd) Run(ctx context.Context, c *cli) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	site, err := c.site(cfg, e.Site)
	if err != nil {
		return err
	}
	v := e.visitor()
	if v.Key() == "" {
		return fault.New(fault.SchemaViolation, "no visitor is named").WithFix("name one: --visitor ID, --email ADDRESS or --anonymous ID")
	}
	f, err := c.fleet(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.close(ctx, f.bus)
	members, err := f.needed()
	if err != nil {
		return err
	}
	bucket, err := f.bus.KV(ctx, bus.BucketIdentities)
	if err != nil {
		return fmt.Errorf("opening the identities: %w", err)
	}
	identities := ingest.OnKV(bucket)
	ids, err := ingest.IDs(ctx, identities, site, v)
	if err != nil {
		return err
	}
	var errs []error
	var keys []string
	for _, id := range ids {
		for _, m := range members { // One after another, so that no owner stores it again behind another's back.
			_, err := ask[struct{}](ctx, f.bus, m.Worker, verbErase, question{Site: site, Visitor: id}, evictTimeout)
			errs = append(errs, err)
		}
		keys = append(keys, site+"/"+event.SessionKey(site, id))
	}
	if err := errors.Join(errs...); err != nil {
		return fault.From(err).WithFix("run it again: what was erased stays erased")
	}
	if _, err := ingest.Forget(ctx, identities, site, v); err != nil { // Last: the links tell whom to erase.
		return fault.From(err).WithFix("run it again: what was erased stays erased")
	}
	if e.JSON {
		return writeJSON(c.Stdout, map[string]any{"erased": keys}, "")
	}
	_, err = fmt.Fprintf(c.Stdout, "erased: %s\n", strings.Join(keys, ", "))
	return err
}
