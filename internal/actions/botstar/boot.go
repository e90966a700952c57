package botstar

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// BootIn is the input of botstar.widget.boot.
type BootIn struct {
	// AppID is the id of the bot; the site's own when it is left out.
	AppID string `json:"app_id,omitempty"`
	// HubAppID is AppID as the hubs spell it.
	HubAppID string `json:"appId,omitempty"`
	// Mode is the widget's mode; the site's own when it is left out.
	Mode string `json:"mode,omitempty"`
	// User is who the visitor is, beside what the command says.
	User Attributes `json:"user,omitempty"`
	// Variables are variables of the conversation.
	Variables map[string]any `json:"variables,omitempty"`
	// Block is the block that the conversation begins with.
	Block string `json:"block,omitempty"`
}

// BootOut is the output of botstar.widget.boot.
type BootOut struct {
	// Booted is always true: anything else is an error.
	Booted bool `json:"booted"`
	// Changed is false when the widget ran with these settings already.
	Changed bool   `json:"changed"`
	AppID   string `json:"app_id"`
	Mode    string `json:"mode"`
	// FrameSrc is the address of the widget's frame, as the page has it.
	FrameSrc string `json:"frame_src"`
	// InstalledBy is page when the page carries BotStar's snippet, and parley
	// when the widget was put in by this action or an earlier one.
	InstalledBy string `json:"installed_by" jsonschema:"enum=page,enum=parley"`

	// sent is how the settings reached the widget: config, boot or "".
	sent string
	// settings are what the widget was asked to run with.
	settings settings
}

const bootInput = `{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "app_id": {"type": "string", "pattern": "^s[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$", "description": "The id of the bot. The site's own when it is left out."},
    "appId": {"type": "string", "pattern": "^s[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$", "description": "The same as app_id, as the hubs spell it."},
    "mode": {"type": "string", "enum": ["livechat", "popup", "inline", "fullpage"], "description": "The widget's mode. The site's own when it is left out."},
    "user": {
  "type": "object",
  "description": "Who the visitor is, beside what the command says.",
  "properties": {` + attributeProperties + `
  },` + attributeRest + `
    },
    "variables": {"type": "object", "maxProperties": 100, "description": "Variables of the conversation.",
      "propertyNames": {"maxLength": 128},
      "additionalProperties": {"type": ["string", "number"], "maxLength": 16384}},
    "block": {"type": "string", "pattern": "^s[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$", "description": "The id of the block that the conversation begins with."}
  }
}`

// settings are the widget's settings in BotStar's own spelling.
type settings struct {
	AppID     string         `json:"appId,omitempty"`
	Mode      string         `json:"mode,omitempty"`
	User      Attributes     `json:"user,omitempty"`
	Variables map[string]any `json:"variables,omitempty"`
	Block     string         `json:"block,omitempty"`
}

// bootArg is the argument of the driver's boot.
type bootArg struct {
	Settings settings `json:"settings"`
	// UsualMode is the mode of a widget that the driver puts in, when Settings
	// names none. A widget of the page's own keeps its mode then.
	UsualMode string `json:"usual_mode"`
	WaitMS    int64  `json:"wait_ms"`
}

// bootAnswer is what the driver's boot answers.
type bootAnswer struct {
	Changed   bool   `json:"changed"`
	Installed bool   `json:"installed"`
	AppID     string `json:"app_id"`
	Mode      string `json:"mode"`
	Src       string `json:"src"`
	Sent      string `json:"sent"`
}

const maxFrameSrc = 8192

func boot() actions.Spec {
	spec := actions.Spec{
		Name:  "botstar.widget.boot",
		Title: "Boot live chat",
		Description: "Makes sure that BotStar's widget runs on the page with the site's app id and the visitor's identity. " +
			"It first looks whether the widget is there: it puts in BotStar's own snippet where there is none, waits where it is loading, " +
			"and hands over the settings only where they differ. It never changes the mode of a running widget: see botstar.widget.set_mode.",
		Aliases: names("Boot live chat", hubName("Livechat boot"), slug("BOTSTAR_LIVECHAT_BOOT", "js")),
		Scope:   event.ClassWrite, Plane: actions.PlanePage,
		Makes: []actions.Fact{actions.Booted}, Idempotent: true,
		Timeout: bounds(30*time.Second, 120*time.Second),
		Verification: "From an isolated world: exactly one container and one frame, the frame has loaded, " +
			"and its address carries the app id, the mode and the user, variables and block that were sent.",
		Reasons: pageReasons(
			fault.SchemaViolation, fault.ModeConflict, fault.NoInlineTarget,
			fault.WidgetNotReady, fault.WidgetFailed,
		),
		InputSchema: json.RawMessage(bootInput),
		Snippet:     bootSnippet,
	}
	return actions.New(spec, runBoot, verifyBoot)
}

func runBoot(ctx context.Context, env actions.Env, in BootIn) (actions.Done[BootOut], error) {
	if id, told := in.User[vendorKey]; told {
		if err := learnID(env, id); err != nil {
			return actions.Done[BootOut]{}, err
		}
		in.User = maps.Clone(in.User)
		delete(in.User, vendorKey)
	}
	want, err := in.settings(env)
	if err != nil {
		return actions.Done[BootOut]{}, err
	}
	answer, err := mount(ctx, env, want)
	if err != nil {
		return actions.Done[BootOut]{}, err
	}
	done := actions.Done[BootOut]{Output: BootOut{
		Booted: true, Changed: answer.Changed, AppID: answer.AppID, Mode: answer.Mode,
		FrameSrc: clip(answer.Src, maxFrameSrc), InstalledBy: "page",
		sent: answer.Sent, settings: want,
	}}
	if answer.Installed {
		done.Output.InstalledBy = "parley"
	}
	remember(env, want)
	if !identified(env, nil) && len(in.User) > 0 {
		done.Advice = adviceAnonymous
	}
	return done, nil
}

// settings returns what the widget is to run with: what the caller says, over
// what the session had, over what the site and the command say.
func (in BootIn) settings(env actions.Env) (settings, error) {
	if err := in.User.check("/params/user"); err != nil {
		return settings{}, err
	}
	if err := checkNames(in.Variables, "/params/variables"); err != nil {
		return settings{}, err
	}
	appID, err := in.appID(env)
	if err != nil {
		return settings{}, err
	}
	known := identity(env.Visitor).over(env.State.User)
	if identified(env, in.User) {
		known = merge(env.Profile.Kept, known)
	}
	return settings{
		AppID: appID, Mode: in.Mode, User: known.over(in.User),
		Variables: mergeVariables(env.Site.Variables, env.State.Variables, in.Variables),
		Block:     firstOf(in.Block, env.State.Block, env.Site.Block),
	}, nil
}

func (in BootIn) appID(env actions.Env) (string, error) {
	if in.AppID != "" && in.HubAppID != "" && in.AppID != in.HubAppID {
		return "", fault.New(fault.SchemaViolation, "app_id and appId differ").At("/params/appId").WithFix("give one of the two")
	}
	appID := firstOf(in.AppID, in.HubAppID, env.State.AppID, env.Site.AppID)
	if err := checkAppID(appID); err != nil {
		return "", fault.From(err).At("/params/app_id")
	}
	return appID, nil
}

// mount makes the widget run with the settings, and notes in the state what it
// then runs with.
func mount(ctx context.Context, env actions.Env, want settings) (bootAnswer, error) {
	var answer bootAnswer
	arg := bootArg{
		Settings:  want,
		UsualMode: firstOf(env.State.Mode, env.Site.Mode, modeLivechat),
		WaitMS:    waitMS(ctx, 120*time.Second),
	}
	if err := env.Do(ctx, "boot", arg, &answer); err != nil {
		return answer, fmt.Errorf("booting the widget: %w", err)
	}
	s := env.State
	s.AppID, s.Mode, s.User = answer.AppID, answer.Mode, want.User
	s.Variables, s.Block, s.Booted = want.Variables, want.Block, true
	return answer, nil
}

// remember keeps an anonymous visitor's attributes for the day on which the
// visitor is identified, and lets go of them when that day has come.
func remember(env actions.Env, sent settings) {
	if identified(env, nil) {
		env.Profile.Kept = nil
		return
	}
	env.Profile.Kept = merge(env.Profile.Kept, sent.User)
}

func verifyBoot(ctx context.Context, env actions.Env, _ BootIn, out BootOut) (actions.Proof, error) {
	seen, err := look(ctx, env, lookArg{})
	if err != nil {
		return actions.Proof{}, err
	}
	return seen.proveMount(env, out.AppID, out.Mode, out.sent, out.settings), nil
}

func checkNames(values map[string]any, pointer string) error {
	for key := range values {
		if forbidden(key) {
			return fault.New(fault.SchemaViolation, "the name %q is not allowed", key).At(pointer + "/" + escape(key))
		}
	}
	return nil
}

func mergeVariables(layers ...map[string]any) map[string]any {
	all := map[string]any{}
	for _, layer := range layers {
		maps.Copy(all, layer)
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// firstOf returns the first text that is not empty.
func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
