package app

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// publisherCLI is the command line of the publisher.
type publisherCLI struct {
	common
	Send        sendCmd        `cmd:"" help:"Send an action for a visitor."`
	Track       trackCmd       `cmd:"" help:"Say that something happened, as an analytics tool would."`
	Tail        tailCmd        `cmd:"" help:"Watch what happens, as it happens."`
	Actions     actionsCmd     `cmd:"" help:"List the actions, or describe one."`
	Serve       serveCmd       `cmd:"" help:"Take events over HTTP, from analytics tools and others."`
	Snippet     snippetCmd     `cmd:"" help:"Print the tag for a website's pages, and the policy that it needs."`
	Backfill    backfillCmd    `cmd:"" help:"Store events of the past from files, for back-tests."`
	Rejected    rejectedCmd    `cmd:"" help:"List the events that came in and could not be taken, or show one."`
	Connect     connectCmd     `cmd:"" help:"Connect an account at a vendor."`
	Connections connectionsCmd `cmd:"" help:"List, test, rotate and revoke connections."`
	Workflows   workflowsCmd   `cmd:"" help:"Workflows: list, check, compare, test on the past, publish, run, repeat."`
	CRM         crmCmd         `cmd:"" name:"crm" help:"CRMs: how they do, what would be written, what was rejected, and once more."`
	Replay      replayCmd      `cmd:"" help:"List what could not be done, and send it again."`
}

// Publisher runs the publisher's command line and returns its exit code.
func Publisher(ctx context.Context, p Process) int {
	var grammar publisherCLI
	return run(ctx, p, "publisher", "Sends chat actions and events to Parley, and shows what becomes of them.\n\n"+
		"Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 70 a bug; 75 try again later; "+
		"77 not allowed; 124 too late; 130 interrupted.", &grammar, &grammar.common)
}

// connect opens the bus that the configuration, or a running worker, names.
func (c *cli) connect(ctx context.Context, cfg *Config) (*bus.Bus, error) {
	url, err := c.address(cfg)
	if err != nil {
		return nil, err
	}
	credentials, err := cfg.Bus.Credentials.Path(c.Env)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, fault.New(fault.BusUnavailable, "%s did not answer within 10s", redact(url)))
	defer cancel()
	b, err := bus.Open(ctx, c.log, bus.Options{URL: url, Name: "publisher", Credentials: credentials, CA: cfg.Bus.CA})
	if err != nil {
		return nil, fault.From(err).WithFix("start a worker with `worker dev`, or name your NATS server with --nats; `worker doctor` tries it")
	}
	return b, nil
}

// address returns where NATS is: what was named, or where a worker on this
// machine said that its own server listens.
func (c *cli) address(cfg *Config) (string, error) {
	if cfg.Bus.URL != "" {
		return cfg.Bus.URL, nil
	}
	if text, err := os.ReadFile(addressFile(cfg)); err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	if cfg.Bus.Listen == "" {
		return "", fault.New(fault.BusUnavailable, "the configuration names no NATS server that another process can reach").
			WithFix("set bus.listen to 127.0.0.1:4222, or bus.url to your server")
	}
	return "nats://" + cfg.Bus.Listen, nil
}

// addressFile is where a worker with an embedded server writes its address.
func addressFile(cfg *Config) string { return filepath.Join(cfg.Path(cfg.Bus.Dir), "address") }

// announce writes the address of the embedded server for the publisher. The
// returned function takes it away.
func announce(cfg *Config, url string) (withdraw func(), err error) {
	if url == "" {
		return func() {}, nil
	}
	file := addressFile(cfg)
	if err := os.WriteFile(file, []byte(url+"\n"), 0o600); err != nil {
		return nil, fault.New(fault.BadConfig, "writing the address of the NATS server").Because(err)
	}
	return func() { _ = os.Remove(file) }, nil
}

// freeAddress returns the address if nobody listens on it, and one with a free
// port otherwise.
func freeAddress(ctx context.Context, address string) string {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return "127.0.0.1:0"
	}
	_ = l.Close()
	return address
}

// who are the flags that name a visitor.
type who struct {
	Visitor   string `placeholder:"ID" aliases:"user-id" help:"The visitor's user id on the site: the best identity."`
	Email     string `placeholder:"ADDRESS" help:"The visitor's e-mail address, when there is no user id."`
	Anonymous string `placeholder:"ID" help:"The id of a visitor whom the site does not know."`
}

func (w who) visitor() event.Visitor {
	return event.Visitor{UserID: w.Visitor, Email: w.Email, AnonymousID: w.Anonymous}
}

// site returns the name of the site that was meant. Without a configuration
// the name is taken as it is: the worker knows.
func (c *cli) site(cfg *Config, named string) (string, error) {
	switch {
	case named == "" && len(cfg.Sites) == 1:
		return cfg.SiteNames()[0], nil
	case named == "":
		fix := "name it: --site shop"
		if len(cfg.Sites) > 0 {
			fix = fmt.Sprintf("name it: --site %s", strings.Join(cfg.SiteNames(), " or --site "))
		}
		return "", fault.New(fault.UnknownSite, "no site is named").WithFix("%s", fix)
	case cfg.File == "" && event.IsToken(named):
		return named, nil
	}
	return cfg.FindSite(named)
}
