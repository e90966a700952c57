package botstar

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// webviewWait is the most that a webview page may take to become ready after
// its document has loaded.
const webviewWait = 10 * time.Second

// webviewProperties is the part of the schemas that opens a webview page.
const webviewProperties = `
    "url": {"type": "string", "maxLength": 2048, "pattern": "^https?://", "description": "The webview page to open, under one of the site's webview origins. Left out for the page that is open."},
    "inputs": {"type": "object", "maxProperties": 100, "description": "What the bot would hand to the page.",
      "propertyNames": {"maxLength": 128},
      "additionalProperties": {"type": ["string", "number"], "maxLength": 16384}}`

// webviewDriver is the in-page side of a webview page: there, our driver is the
// host that BotStar's SDK speaks to.
func webviewDriver() actions.Driver {
	return actions.Driver{Main: webviewMain, Look: webviewLook}
}

// field is one input or output that a webview page declares.
type field struct {
	Type        string
	Description string
}

// webviewSchema is what a webview page declares in its meta tags.
type webviewSchema struct {
	Version, Name   string
	Inputs, Outputs map[string]field
	Outlets         []string
}

// meta is one meta tag of the page.
type meta struct {
	Name    string `json:"name"`
	Content string `json:"content"`
}

// parseMetas reads the meta tags whose names begin with "bs:". Version and name
// may be missing; a tag that is repeated counts once, the first time.
func parseMetas(metas []meta) webviewSchema {
	schema := webviewSchema{Inputs: map[string]field{}, Outputs: map[string]field{}}
	for _, m := range metas {
		kind, rest, _ := strings.Cut(strings.TrimPrefix(m.Name, "bs:"), ":")
		switch kind {
		case "version":
			schema.Version = firstOf(schema.Version, m.Content)
		case "name":
			schema.Name = firstOf(schema.Name, m.Content)
		case "input":
			declare(schema.Inputs, rest, m.Content)
		case "output":
			declare(schema.Outputs, rest, m.Content)
		case "outlet":
			if rest != "" && !slices.Contains(schema.Outlets, rest) {
				schema.Outlets = append(schema.Outlets, rest)
			}
		}
	}
	return schema
}

func declare(fields map[string]field, name, content string) {
	if _, known := fields[name]; known || name == "" {
		return
	}
	fields[name] = parseField(content)
}

// parseField reads "type=number,description=The price, with tax". A type that
// is neither string nor number is a string: BotStar has no other.
func parseField(content string) field {
	f := field{Type: "string"}
	for content != "" {
		key, rest, _ := strings.Cut(content, "=")
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "type":
			var kind string
			kind, content, _ = strings.Cut(rest, ",")
			if strings.EqualFold(strings.TrimSpace(kind), "number") {
				f.Type = "number"
			}
		case "description":
			f.Description, content = strings.TrimSpace(rest), ""
		default:
			_, content, _ = strings.Cut(rest, ",")
		}
	}
	return f
}

// webviewPage returns the environment of the webview page: the one that is
// open, or the one that the address asks for. The page is ready when it
// returns: its own onChatBotReady has been called. The notices tell of a page
// that was opened.
func webviewPage(ctx context.Context, env actions.Env, address string, inputs map[string]any) (actions.Env, []actions.Notice, error) {
	if err := checkNames(inputs, "/params/inputs"); err != nil {
		return env, nil, err
	}
	if address == "" && env.Browser == nil {
		return ownWebview(ctx, env, "", inputs)
	}
	if address == "" {
		return theWebview(ctx, env, inputs)
	}
	if err := allowed(env.Site, address); err != nil {
		return env, nil, err
	}
	if env.Browser == nil {
		return ownWebview(ctx, env, address, inputs)
	}
	if env.Webview != nil && env.State.WebviewURL == address {
		on := env.On(env.Webview)
		if started, err := start(ctx, on, hand{Inputs: inputs}); err != nil || started.Same {
			return on, nil, err
		}
	}
	on, err := openWebview(ctx, env, address, inputs)
	if err != nil {
		return on, nil, err
	}
	return on, webviewOpened(address), nil
}

// theWebview returns the environment of the webview page that is open.
func theWebview(ctx context.Context, env actions.Env, inputs map[string]any) (actions.Env, []actions.Notice, error) {
	if env.Webview == nil {
		return env, nil, fault.New(fault.WebviewNotOpen, "no webview page is open in this session").At("/params/url")
	}
	on := env.On(env.Webview)
	started, err := start(ctx, on, hand{Inputs: inputs})
	return on, nil, started.check(err)
}

// webviewOpened tells that the page is ready. A query may be personal.
func webviewOpened(address string) []actions.Notice {
	bare := address
	if i := strings.IndexAny(address, "?#"); i >= 0 {
		bare = address[:i]
	}
	return []actions.Notice{{Name: event.FactWebviewOpened, Data: func(o event.Occurrence) any {
		return event.WebviewOpened{Occurrence: o, URL: bare}
	}}}
}

func openWebview(ctx context.Context, env actions.Env, address string, inputs map[string]any) (actions.Env, error) {
	env.State.WebviewURL = ""
	page, err := env.Browser.OpenPage(ctx, address, webviewDriver())
	if err != nil {
		return env, fmt.Errorf("opening the webview page: %w", err)
	}
	env.Webview = page
	on := env.On(page)
	if _, err := start(ctx, on, hand{Inputs: inputs}); err != nil {
		return on, errors.Join(err, closeWebview(ctx, env))
	}
	env.State.WebviewURL = address
	return on, nil
}

// hand is what the page is handed.
type hand struct {
	Inputs map[string]any `json:"inputs"`
	// Again loads the page again when it runs with other inputs.
	Again  bool  `json:"again,omitempty"`
	WaitMS int64 `json:"wait_ms"`
}

// started is what the page answers.
type started struct {
	// Same is false when the page runs already with other inputs, and First is true
	// when these were handed over now.
	Same  bool   `json:"same"`
	First bool   `json:"first"`
	URL   string `json:"url"`
}

// check refuses a page that runs with other inputs.
func (s started) check(err error) error {
	if err == nil && !s.Same {
		err = fault.New(fault.SchemaViolation, "the page that is open runs with other inputs").At("/params/inputs").
			WithFix("name the page in url to open it again with these inputs")
	}
	return err
}

// start hands the inputs to the page and waits until it is ready.
func start(ctx context.Context, on actions.Env, arg hand) (started, error) {
	arg.WaitMS = waitMS(ctx, webviewWait)
	var answer started
	if err := on.Look(ctx, "start", arg, &answer); err != nil {
		return started{}, fmt.Errorf("starting the webview page: %w", err)
	}
	if err := allowed(on.Site, answer.URL); err != nil {
		return started{}, fmt.Errorf("the page went elsewhere: %w", err)
	}
	return answer, nil
}

// closeWebview closes the page that openWebview opened.
func closeWebview(ctx context.Context, env actions.Env) error {
	env.State.WebviewURL = ""
	if err := env.Browser.ClosePage(ctx); err != nil {
		return fmt.Errorf("closing the webview page: %w", err)
	}
	return nil
}

// allowed refuses an address that is not under one of the site's webview
// origins.
func allowed(site actions.Site, address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return fault.New(fault.WebviewNotAllowed, "%q is not an address of a webview page", clip(address, 200)).At("/params/url")
	}
	for _, known := range site.Webviews {
		origin, err := url.Parse(known)
		if err == nil && origin.Scheme == u.Scheme && port(origin) == port(u) && strings.EqualFold(origin.Hostname(), u.Hostname()) {
			return nil
		}
	}
	return fault.New(fault.WebviewNotAllowed, "%s://%s is not a webview origin of the site %s", u.Scheme, clip(u.Host, 200), site.Name).
		At("/params/url")
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}

// declarations reads what the page declares, from the isolated world.
func declarations(ctx context.Context, on actions.Env) (webviewSchema, error) {
	var answer struct {
		Metas []meta `json:"metas"`
	}
	if err := on.Look(ctx, "look.metas", nil, &answer); err != nil {
		return webviewSchema{}, fmt.Errorf("reading the page's meta tags: %w", err)
	}
	return parseMetas(answer.Metas), nil
}
