package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// publisherSource is the CloudEvents source of what the publisher sends. Source
// and id together name a command, so --id twice is one command.
const publisherSource = "/publisher"

// waitSlack is how much longer than the action's timeout the publisher waits
// for the result: the command may queue behind others, and a browser may have
// to start.
const waitSlack = 30 * time.Second

// nobody is the visitor of a command that is about none: it needs no page.
const nobody = "publisher"

// sendCmd sends one action, or many from stdin.
type sendCmd struct {
	Action string `arg:"" optional:"" help:"The action's name or one of its aliases: publisher actions. \"-\" reads many from stdin."`
	Site   string `short:"s" help:"The site's name, or a page of it. May be left out when there is only one."`
	who
	Param      []string      `short:"p" sep:"none" placeholder:"NAME=TEXT" help:"A parameter; NAME:=JSON for a number, true, a list. Repeat it."`
	Params     string        `placeholder:"JSON" help:"All parameters, as a JSON object."`
	File       string        `short:"f" placeholder:"FILE" help:"All parameters, from a JSON file."`
	Timeout    time.Duration `help:"How long the action may take. Default: the action's own."`
	Expires    time.Duration `help:"After this time the command is not worth doing any more."`
	ID         string        `placeholder:"ID" help:"The command's id. The same id again is the same command: it is done once."`
	NoAutoBoot bool          `help:"Fail when the widget is not booted, instead of booting it."`
	Wait       bool          `short:"w" help:"Wait for the result, print it, and exit by it."`
	DryRun     bool          `help:"Check everything, print the CloudEvent, and send nothing."`
	Stdin      bool          `help:"Read many from stdin, one JSON object per line: {\"action\": …, \"visitor\": {…}, \"params\": {…}}."`
}

// Help is the long help.
func (*sendCmd) Help() string {
	return `Examples:

  publisher send botstar.widget.open --site shop --visitor u-42 --wait
  publisher send "Update user details" --site shop --visitor u-42 -p email=ada@example.com -p tags:='["pro"]' --wait
  publisher send - --site shop --wait < commands.ndjson

The exit code with --wait is 0 when the result is succeeded or queued. A line of stdin may hold action, site, visitor, params, auto_boot, timeout_ms and id; the flags stand in for what it leaves out.`
}

// Run sends.
func (s *sendCmd) Run(ctx context.Context, c *cli) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	if s.Stdin || s.Action == "-" {
		return s.many(ctx, c, cfg)
	}
	ask, err := s.request(c, cfg)
	if err != nil {
		return err
	}
	order, err := c.order(ask)
	if err != nil {
		return err
	}
	if s.DryRun {
		return c.printEvent(order.Envelope)
	}
	b, err := c.connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.close(ctx, b)
	if !s.Wait {
		receipt, err := b.Publish(ctx, order.Subject, order.Envelope)
		if err != nil {
			return err
		}
		return c.print(sent{order.Envelope.ID, receipt.Stream, receipt.Sequence, receipt.Duplicate})
	}
	result, err := c.await(ctx, b, order)
	if err != nil {
		return err
	}
	if err := c.print(result); err != nil {
		return err
	}
	return outcome(result)
}

// request is a command as its sender means it.
type request struct {
	Action    string          `json:"action"`
	Site      string          `json:"site"`
	Visitor   event.Visitor   `json:"visitor"`
	Params    json.RawMessage `json:"params"`
	AutoBoot  *bool           `json:"auto_boot"`
	TimeoutMS *int            `json:"timeout_ms"`
	ID        string          `json:"id"`

	expires time.Duration
}

// request makes the request of the flags.
func (s *sendCmd) request(c *cli, cfg *Config) (request, error) {
	if s.Action == "" {
		return request{}, fault.New(fault.UnknownAction, "no action is named").
			WithFix("name one: publisher send botstar.widget.open; `publisher actions` lists them")
	}
	ask, err := s.defaults()
	if err != nil {
		return request{}, err
	}
	ask.Action, ask.ID = s.Action, s.ID
	ask.Site, err = c.site(cfg, s.Site)
	return ask, err
}

// defaults is what the flags say beside the action.
func (s *sendCmd) defaults() (request, error) {
	params, err := s.params()
	if err != nil {
		return request{}, err
	}
	ask := request{Site: s.Site, Visitor: s.visitor(), Params: params, expires: s.Expires}
	if s.NoAutoBoot {
		ask.AutoBoot = new(false)
	}
	if s.Timeout > 0 {
		ask.TimeoutMS = new(int(s.Timeout.Milliseconds()))
	}
	return ask, nil
}

// params joins what the three flags say.
func (s *sendCmd) params() (json.RawMessage, error) {
	text := []byte(s.Params)
	if s.File != "" {
		var err error
		if text, err = os.ReadFile(s.File); err != nil {
			return nil, fault.New(fault.SchemaViolation, "reading the parameters").Because(err).WithFix("check --file")
		}
	}
	all := map[string]any{}
	if len(bytes.TrimSpace(text)) > 0 {
		if err := json.Unmarshal(text, &all); err != nil {
			return nil, fault.New(fault.SchemaViolation, "the parameters are not a JSON object: %s", err).At("/params").
				WithFix(`write --params '{"email": "ada@example.com"}'`)
		}
	}
	if err := addPairs(all, s.Param, "--param"); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("encoding the parameters: %w", err)
	}
	return raw, nil
}

// addPairs adds pairs of the form name=text or name:=json.
func addPairs(to map[string]any, pairs []string, flag string) error {
	for _, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		if !found || name == "" || name == ":" {
			return fault.New(fault.SchemaViolation, "%q is no pair", pair).WithFix("write %s name=text, or %s name:=json", flag, flag)
		}
		if name, ok := strings.CutSuffix(name, ":"); ok {
			var parsed any
			if err := json.Unmarshal([]byte(value), &parsed); err != nil {
				return fault.New(fault.SchemaViolation, "%q is not JSON: %s", value, err).At("/"+name).
					WithFix("write %s '%s:=[\"a\", 1]', or %s name=text for text", flag, name, flag)
			}
			to[name] = parsed
			continue
		}
		to[name] = value
	}
	return nil
}

// order is a command that was checked, ready to be sent.
type order struct {
	Subject  string
	Envelope event.Envelope
	Spec     actions.Spec
	Timeout  time.Duration
}

// order checks the request as the worker will, and makes the command.
func (c *cli) order(ask request) (order, error) {
	spec, _, err := c.catalog.Find(ask.Action)
	if err != nil {
		return order{}, err
	}
	if ask.Visitor.Key() == "" && spec.Plane != actions.PlanePage {
		ask.Visitor.AnonymousID = nobody // It is about no visitor.
	}
	if ask.Visitor.Key() == "" {
		return order{}, fault.New(fault.SchemaViolation, "no visitor is named").At("/visitor").
			WithFix("name one: --visitor ID, --email ADDRESS or --anonymous ID")
	}
	command := event.Command{
		Site: ask.Site, Visitor: ask.Visitor, Params: ask.Params, AutoBoot: ask.AutoBoot, TimeoutMS: ask.TimeoutMS,
	}
	if ask.Action != spec.Name {
		command.Alias = ask.Action
	}
	session := event.SessionKey(ask.Site, ask.Visitor)
	e, err := event.New(publisherSource, event.CommandType(spec.Name), session, command)
	if err != nil {
		return order{}, fault.New(fault.SchemaViolation, "%s", err).At("/params")
	}
	if err := c.schemas.Validate(e.Type, e.Data); err != nil {
		return order{}, err
	}
	if ask.ID != "" {
		e.ID = ask.ID
	}
	e.DataSchema = event.SchemaURI(e.Type)
	e.Extensions[event.ExtPartitionKey] = session
	e.Extensions[event.ExtCorrelationID] = e.ID
	if ask.expires > 0 {
		e.Extensions[event.ExtExpiryTime] = e.Time.Add(ask.expires).Format(time.RFC3339Nano)
	}
	o := order{event.CommandSubject(spec.Scope, spec.Name, ask.Site, session), e, spec, spec.Timeout.Default}
	if ask.TimeoutMS != nil {
		o.Timeout = time.Duration(*ask.TimeoutMS) * time.Millisecond
	}
	return o, nil
}

// await sends the command and waits for its result.
func (c *cli) await(ctx context.Context, b *bus.Bus, o order) (event.Result, error) {
	pending, err := c.send(ctx, b, o)
	if err != nil {
		return event.Result{}, err
	}
	return pending.result(ctx)
}

// pending is a command that was sent, and whose result is awaited.
type pending struct {
	order
	reply *bus.Reply
}

// send sends the command, and returns when it is stored.
func (c *cli) send(ctx context.Context, b *bus.Bus, o order) (pending, error) {
	reply, err := b.Send(ctx, o.Subject, o.Envelope)
	return pending{o, reply}, err
}

// result waits for the result.
func (p pending) result(ctx context.Context) (event.Result, error) {
	defer p.reply.Close()
	patience := p.Timeout + waitSlack
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	e, err := p.reply.Wait(ctx)
	if err != nil && fault.From(err).Reason == fault.NoWorker {
		return event.Result{}, fault.New(fault.NoWorker, "the command %s is stored, and no result came within %s", p.Envelope.ID, patience).
			WithFix("check that a worker runs and takes %s: `worker doctor`; --id %s asks for this command's result again",
				p.Spec.Name, p.Envelope.ID)
	}
	if err != nil {
		return event.Result{}, err
	}
	var result event.Result
	if err := json.Unmarshal(e.Data, &result); err != nil {
		return event.Result{}, fault.New(fault.Malformed, "reading the result").Because(err)
	}
	return result, nil
}

// outcome returns the error that gives the exit code of the result. The result
// itself has been printed.
func outcome(result event.Result) error {
	switch result.Status {
	case event.Succeeded, event.Queued:
		return nil
	case event.Failed, event.Rejected, event.Expired:
	}
	code := 1
	if result.Problem != nil {
		code = fault.ExitCode(fault.Code(result.Problem.Code))
	}
	return silentError{max(code, 1)}
}

// sent is what is printed of a command that nobody waits for.
type sent struct {
	ID        string `json:"id"`
	Stream    string `json:"stream"`
	Sequence  uint64 `json:"sequence"`
	Duplicate bool   `json:"duplicate"`
}

// print prints the value as JSON for people and programs.
func (c *cli) print(value any) error { return writeJSON(c.Stdout, value, "  ") }

// printEvent prints the envelope in CloudEvents' JSON form.
func (c *cli) printEvent(e event.Envelope) error {
	_, body := event.EncodeStructured(e)
	var out bytes.Buffer
	if err := json.Indent(&out, body, "", "  "); err != nil {
		return fmt.Errorf("printing the event: %w", err)
	}
	out.WriteByte('\n')
	_, err := c.Stdout.Write(out.Bytes())
	return err
}

func writeJSON(w io.Writer, value any, indent string) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// close closes the bus when the command is done.
func (c *cli) close(ctx context.Context, b *bus.Bus) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		_, _ = fmt.Fprintf(c.Stderr, "warning: %s\n", err)
	}
}
