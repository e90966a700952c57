package botstar

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
)

// lookArg is the argument of look.widget.
type lookArg struct {
	// Want is open or closed: the look waits until the window is so. It is ""
	// for what is there now.
	Want   string `json:"want,omitempty"`
	WaitMS int64  `json:"wait_ms,omitempty"`
}

// view is what the isolated world sees of the widget.
type view struct {
	// Containers counts the widget's own containers, Targets the inline ones
	// that hold a frame, Frames the widget's frames.
	Containers int `json:"containers"`
	Targets    int `json:"targets"`
	Frames     int `json:"frames"`
	// Src is the address of the first frame, and Loaded whether it has loaded.
	Src    string `json:"src"`
	Loaded bool   `json:"loaded"`
	// AppID, Mode and InitData are read from Src. InitData is JSON text.
	AppID    string `json:"app_id"`
	Mode     string `json:"mode"`
	InitData string `json:"init_data"`
	// ModeClass reports whether the container carries the mode's class.
	ModeClass bool `json:"mode_class"`
	// Visible and Launcher report whether frame and launcher can be seen.
	Visible  bool `json:"visible"`
	Launcher bool `json:"launcher"`
}

func look(ctx context.Context, env actions.Env, arg lookArg) (view, error) {
	var seen view
	if err := env.Look(ctx, "look.widget", arg, &seen); err != nil {
		return seen, fmt.Errorf("looking at the widget: %w", err)
	}
	return seen, nil
}

// observe is the presence check: one look at the document, which costs one
// call. It leaves State.Open alone: only the signals, which come in page order,
// may change it, else a fact would be published twice or not at all.
func observe(ctx context.Context, env actions.Env) (actions.Facts, error) {
	seen, err := look(ctx, env, lookArg{})
	if err != nil {
		return nil, err
	}
	s := env.State
	s.Booted = seen.mounted()
	if s.Booted {
		s.AppID, s.Mode = seen.AppID, firstOf(seen.Mode, modeLivechat)
	}
	now := *s
	now.Open = s.Booted && windowed(s.Mode) && seen.Visible
	return now.Facts(), nil
}

// mounted reports whether one widget is there, and its frame has loaded.
func (v view) mounted() bool {
	if v.Frames == 0 || !v.Loaded {
		return false
	}
	if v.Mode == modeInline {
		return v.Containers == 0 && v.Targets > 0
	}
	return v.Containers == 1 && v.Frames == 1
}

// proveMount compares what is seen with what was asked. sent says how the
// settings reached the widget: only the address of a frame shows them.
func (v view) proveMount(env actions.Env, appID, mode, sent string, want settings) actions.Proof {
	proof := actions.Proof{Verdict: event.Confirmed, Evidence: []event.Evidence{
		evidence(env, "dom", fmt.Sprintf("%d container(s), %d inline target(s), %d frame(s), loaded: %t", v.Containers, v.Targets, v.Frames, v.Loaded)),
		evidence(env, "query", fmt.Sprintf("the frame's address carries app id %s and mode %s", v.AppID, v.Mode)),
	}}
	switch {
	case v.Frames == 0 || !v.Loaded:
		proof.Verdict = event.Unconfirmed
		return proof
	case !v.mounted(), !strings.EqualFold(v.AppID, appID), v.Mode != mode, v.Mode != modeInline && !v.ModeClass:
		proof.Verdict = event.Contradicted
		return proof
	}
	missing := v.missing(want)
	if len(missing) == 0 {
		proof.Evidence = append(proof.Evidence, evidence(env, "query", "initData carries everything that was sent"))
		return proof
	}
	proof.Evidence = append(proof.Evidence, evidence(env, "query", "initData does not show: "+strings.Join(missing, ", ")))
	proof.Verdict = event.Unverifiable
	if sent == "config" {
		proof.Verdict = event.Contradicted
	}
	return proof
}

// missing names the settings that the frame's address does not carry.
func (v view) missing(want settings) []string {
	var got settings
	if v.InitData != "" {
		if err := json.Unmarshal([]byte(v.InitData), &got); err != nil {
			return []string{"readable data"}
		}
	}
	var missing []string
	for _, key := range want.User.names() {
		if key != "tags" && !same(want.User[key], got.User[key]) {
			missing = append(missing, "user."+key)
		}
	}
	for _, key := range Attributes(want.Variables).names() {
		if !same(want.Variables[key], got.Variables[key]) {
			missing = append(missing, "variables."+key)
		}
	}
	if want.Block != got.Block {
		missing = append(missing, "block")
	}
	return missing
}

// users names the attributes of a user in the frame's address.
func (v view) users() []string {
	var got settings
	if v.InitData == "" || json.Unmarshal([]byte(v.InitData), &got) != nil {
		return nil
	}
	return got.User.names()
}

// same compares two values by their JSON, since a number may be of several Go
// types before it has travelled.
func same(a, b any) bool {
	left, errLeft := json.Marshal(a)
	right, errRight := json.Marshal(b)
	return errLeft == nil && errRight == nil && reflect.DeepEqual(left, right)
}
