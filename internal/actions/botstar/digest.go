package botstar

import (
	"encoding/json"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
)

// The driver's signals. Those that are facts have the fact's name.
const (
	signalPage      = "page.started" // A new document; from the runtime.
	signalReady     = "widget.ready" // The widget is mounted and its frame has loaded.
	signalOpened    = event.FactWidgetOpened
	signalClosed    = event.FactWidgetClosed
	signalResponded = event.FactWebviewResponded
)

// digest keeps the state up to date, and says which fact is to be published.
// A signal is page data: what does not fit is ignored.
func digest(state *actions.State, signal actions.Signal) (actions.Notice, bool) {
	switch signal.Name {
	case signalPage:
		return pageStarted(state)
	case signalReady:
		return ready(state, signal)
	case signalOpened:
		state.Open = true
		state.Opened++
		state.Sight = sight(signal)
		ids := subscriptionsTo(state, event.FactWidgetOpened)
		return actions.Notice{Name: event.FactWidgetOpened, Data: func(o event.Occurrence) any {
			return event.WidgetOpened{Occurrence: o, Subscriptions: ids}
		}}, true
	case signalClosed:
		state.Open = false
		state.Closed++
		state.Sight = sight(signal)
		return closed(state), true
	case signalResponded:
		return responded(signal)
	}
	return actions.Notice{}, false
}

// sight reads what the isolated world saw with a callback.
func sight(signal actions.Signal) actions.Sight {
	var seen struct {
		Open     bool `json:"open"`
		Launcher bool `json:"launcher"`
	}
	if json.Unmarshal(signal.Seen, &seen) != nil {
		return actions.Sight{}
	}
	return actions.Sight{Key: signal.Key, Open: seen.Open, Launcher: seen.Launcher}
}

func closed(state *actions.State) actions.Notice {
	ids := subscriptionsTo(state, event.FactWidgetClosed)
	return actions.Notice{Name: event.FactWidgetClosed, Data: func(o event.Occurrence) any {
		return event.WidgetClosed{Occurrence: o, Subscriptions: ids}
	}}
}

// pageStarted says that a window that was open has gone with its page. The
// webview is a page of its own, and stays.
func pageStarted(state *actions.State) (actions.Notice, bool) {
	wasOpen := state.Open
	webview := state.WebviewURL
	state.Forget()
	state.WebviewURL = webview
	if !wasOpen {
		return actions.Notice{}, false
	}
	return closed(state), true
}

func ready(state *actions.State, signal actions.Signal) (actions.Notice, bool) {
	var data struct {
		AppID string `json:"app_id"`
		Mode  string `json:"mode"`
		// Again is true after a remount, which is no boot.
		Again bool `json:"again"`
	}
	if json.Unmarshal(signal.Data, &data) != nil || checkAppID(data.AppID) != nil {
		return actions.Notice{}, false
	}
	mode := clip(firstOf(data.Mode, modeLivechat), 20)
	state.Booted, state.AppID, state.Mode = true, data.AppID, mode
	if data.Again {
		return actions.Notice{}, false
	}
	return actions.Notice{Name: event.FactWidgetBooted, Data: func(o event.Occurrence) any {
		return event.WidgetBooted{Occurrence: o, AppID: data.AppID, Mode: mode}
	}}, true
}

func responded(signal actions.Signal) (actions.Notice, bool) {
	var data struct {
		URL      string         `json:"url"`
		Response string         `json:"response"`
		Outputs  map[string]any `json:"outputs"`
		Outlet   string         `json:"outlet"`
	}
	if json.Unmarshal(signal.Data, &data) != nil {
		return actions.Notice{}, false
	}
	return actions.Notice{Name: event.FactWebviewResponded, Data: func(o event.Occurrence) any {
		return event.WebviewResponded{
			Occurrence: o, URL: clip(data.URL, 2048), Response: data.Response, Outputs: data.Outputs, Outlet: data.Outlet,
		}
	}}, true
}
