package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/telemetry"
	"github.com/parley-chat/parley/schemas"
)

// exitUsage is the exit code of a command line that cannot be understood. The
// others are those of fault.ExitCode.
const exitUsage = 2

// errHelp says that the help was printed, and nothing else is to be done.
var errHelp = errors.New("the help was printed")

// errSilent is an outcome other than success that was told already; code is the
// exit code.
type silentError struct{ code int }

// Error returns a text that nobody prints.
func (e silentError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// common are the flags that every command of both binaries has.
type common struct {
	Config  string      `short:"c" placeholder:"FILE" help:"Read this configuration. Default: parley.yaml, if it is there. ($$PARLEY_CONFIG)"`
	Nats    string      `placeholder:"URL" help:"Use this NATS server: overrides bus.url. ($$PARLEY_BUS_URL)"`
	Verbose bool        `short:"v" help:"Log what happens inside, too."`
	Help    helpFlag    `short:"h" help:"Show this help, or that of a command."`
	Version versionFlag `help:"Show the version."`
}

// helpFlag prints the help of the command that it stands behind.
type helpFlag bool

// BeforeReset prints the help and ends the command.
func (helpFlag) BeforeReset(k *kong.Context) error {
	if err := kong.DefaultHelpPrinter(kong.HelpOptions{Compact: true, WrapUpperBound: 100, ValueFormatter: kong.DefaultHelpValueFormatter}, k); err != nil {
		return fmt.Errorf("printing the help: %w", err)
	}
	return errHelp
}

type versionFlag bool

// BeforeReset prints the version and ends the command.
func (versionFlag) BeforeReset(k *kong.Context) error {
	_, _ = fmt.Fprintln(k.Stdout, k.Model.Name, telemetry.Version())
	return errHelp
}

// run parses the arguments, runs the command that they name, and returns the
// exit code.
func run(ctx context.Context, p Process, name, description string, grammar any, flags *common) int {
	parser, err := kong.New(grammar,
		kong.Name(name), kong.Description(description), kong.NoDefaultHelp(),
		kong.Writers(p.Stdout, p.Stderr), kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		return p.fail(name, fault.New(fault.InternalError, "building the command line").Because(err))
	}
	args := p.Args
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if errors.Is(err, errHelp) {
		return 0
	}
	if err != nil {
		_, _ = fmt.Fprintf(p.Stderr, "%s: %s\n  fix: `%s` shows what there is\n", name, err, helpOf(name, err))
		return exitUsage
	}
	cli, err := p.prepare(flags)
	if err != nil {
		return p.fail(name, err)
	}
	if err := parsed.Run(cli); err != nil {
		return p.fail(name, err)
	}
	return 0
}

// helpOf returns the command that prints the help for where the error is.
func helpOf(name string, err error) string {
	if wrong, ok := errors.AsType[*kong.ParseError](err); ok && wrong.Context != nil && wrong.Context.Selected() != nil {
		return wrong.Context.Selected().FullPath() + " --help"
	}
	return name + " --help"
}

// cli is what every command works with.
type cli struct {
	Process
	flags   *common
	log     *slog.Logger
	catalog *actions.Catalog
	schemas *event.Schemas
}

// prepare builds what every command needs and nothing can be wrong with.
func (p Process) prepare(flags *common) (*cli, error) {
	catalog, err := Catalog()
	if err != nil {
		return nil, err
	}
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		return nil, fmt.Errorf("reading the schemas: %w", err)
	}
	if flags.Config == "" {
		flags.Config = p.Env[envPrefix+"CONFIG"]
	}
	if flags.Nats != "" {
		p.Env[envPrefix+"BUS_URL"] = flags.Nats
	}
	level := slog.LevelWarn
	if flags.Verbose {
		level = slog.LevelDebug
	}
	log := telemetry.NewLogger(p.Stderr, telemetry.LogOptions{Level: level, Format: "text", Terminal: p.Terminal.Err})
	return &cli{p, flags, log, catalog, validators}, nil
}

// Catalog returns the catalogue of all providers.
func Catalog() (*actions.Catalog, error) {
	catalog, err := actions.NewCatalog(botstar.Provider())
	if err != nil {
		return nil, fmt.Errorf("building the catalogue: %w", err)
	}
	return catalog, nil
}

// config loads the configuration: the named file, or parley.yaml, or none.
func (c *cli) config() (*Config, error) {
	cfg, err := LoadConfig(Locate(c.flags.Config), c.Env, c.catalog)
	if err != nil {
		return nil, err
	}
	for _, warning := range cfg.Warnings {
		_, _ = fmt.Fprintf(c.Stderr, "warning: %s\n", warning)
	}
	return cfg, nil
}

// logger returns the logger that the configuration asks for.
func (c *cli) logger(t TelemetryConfig) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(t.Level)); err != nil || c.flags.Verbose {
		level = slog.LevelDebug
	}
	return telemetry.NewLogger(c.Stderr, telemetry.LogOptions{Level: level, Format: t.Format, Terminal: c.Terminal.Err})
}

// fail prints the error for a person, and returns its exit code: what happened,
// where, and what to do.
func (p Process) fail(name string, err error) int {
	if silent, ok := errors.AsType[silentError](err); ok {
		return silent.code
	}
	if errors.Is(err, context.Canceled) {
		_, _ = fmt.Fprintf(p.Stderr, "%s: stopped\n", name)
		return 130
	}
	explain(p.Stderr, name, err)
	return fault.ExitCode(fault.CodeOf(err))
}

// explain prints the error and its fix. Errors that hold their fixes already,
// as those of a configuration do, are printed as they are.
func explain(w io.Writer, name string, err error) {
	e := fault.From(err)
	text := err.Error()
	_, _ = fmt.Fprintf(w, "%s: %s\n", name, text)
	if e.Fix != "" && !containsFix(text) {
		_, _ = fmt.Fprintf(w, "  fix: %s\n", e.Fix)
	}
}

// dirOf makes the directory if it is not there.
func dirOf(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil { //nolint:gosec // pictures and addresses, nothing secret.
		return fault.New(fault.BadConfig, "making the directory %s", path).Because(err)
	}
	return nil
}

// joinComma joins a list as the environment spells it.
func joinComma(list []string) string { return strings.Join(list, ",") }

func containsFix(text string) bool { return strings.Contains(text, "\n  fix: ") }
