package botstar

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/parley-chat/parley/internal/standin"
)

// maxBody bounds what a browser may send at once, in bytes.
const maxBody = 1 << 20

// A question is the frame's request for its bot.
type question struct {
	AppID       string         `json:"app_id"`
	UserID      string         `json:"user_id"`
	AnonymousID string         `json:"anonymous_id"`
	Locale      string         `json:"locale"`
	Timezone    string         `json:"timezone"`
	Template    string         `json:"template"`
	Host        place          `json:"host"`
	Mode        string         `json:"mode"`
	Instance    string         `json:"instance"`
	User        map[string]any `json:"user"`
	Variables   map[string]any `json:"variables"`
	Block       string         `json:"block"`
}

// A place is the part of the host page's location that the vendor looks at.
type place struct {
	Href string `json:"href"`
}

// An answer is what the frame gets.
type answer struct {
	Bot         bot        `json:"bot"`
	Messages    []Message  `json:"messages"`
	Faults      pageFaults `json:"faults"`
	ReportEvery int64      `json:"report_every_ms"`
}

type bot struct {
	Name    string `json:"name"`
	Tagline string `json:"tagline"`
	Color   string `json:"color"`
	Avatar  string `json:"avatar"`
	Reply   string `json:"reply"`
}

// pageFaults are the faults that the page's scripts play out.
type pageFaults struct {
	Open     Lie    `json:"open,omitempty"`
	Close    Lie    `json:"close,omitempty"`
	Dialog   string `json:"dialog,omitempty"`
	Navigate string `json:"navigate,omitempty"`
	Loop     bool   `json:"loop,omitempty"`
}

// A reporting is what a frame, or the SDK of a webview page, reports.
type reporting struct {
	Entries []report `json:"entries"`
	webviewReport
}

type report struct {
	Seq        int            `json:"seq"`
	Type       string         `json:"type"`
	Cause      string         `json:"cause"`
	Text       string         `json:"text"`
	Attributes map[string]any `json:"attributes"`
	Variables  map[string]any `json:"variables"`
}

type webviewReport struct {
	Instance string         `json:"instance"`
	Webview  string         `json:"webview"`
	Response string         `json:"response"`
	Outputs  map[string]any `json:"outputs"`
	Outlet   string         `json:"outlet"`
}

// query answers a frame's request for its bot.
func (s *Standin) query(w http.ResponseWriter, r *http.Request) {
	q, err := decode[question](w, r)
	if err != nil {
		complain(w, http.StatusBadRequest, "bad_request", err.Error())
		return
	}
	app, ok := s.options.app(q.AppID)
	if !ok {
		s.vendor.refuse(q)
		complain(w, http.StatusNotFound, missingConfig, fmt.Sprintf("no bot is published under %q", q.AppID))
		return
	}
	s.vendor.boot(q)
	faults := s.current.Load().faults
	write(w, http.StatusOK, answer{
		Bot:         bot{Name: app.Name, Tagline: app.Tagline, Color: app.Color, Avatar: avatarURL, Reply: app.Reply},
		Messages:    app.opening(q.Block),
		ReportEvery: s.options.ReportEvery.Milliseconds(),
		Faults: pageFaults{
			Open: faults.Open, Close: faults.Close, Dialog: faults.Dialog, Navigate: faults.Navigate, Loop: faults.Loop,
		},
	})
}

// event takes reports.
func (s *Standin) event(w http.ResponseWriter, r *http.Request) {
	in, err := decode[reporting](w, r)
	if err != nil {
		complain(w, http.StatusBadRequest, "bad_request", err.Error())
		return
	}
	if in.Webview != "" {
		s.vendor.respond(in.webviewReport)
	} else if !s.vendor.hear(in.Instance, in.Entries) {
		complain(w, http.StatusNotFound, "unknown_frame", "the frame did not ask for its bot here")
		return
	}
	w.Header().Set("Cache-Control", standin.Never)
	w.WriteHeader(http.StatusNoContent)
}

func decode[T any](w http.ResponseWriter, r *http.Request) (T, error) {
	var value T
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&value); err != nil {
		return value, fmt.Errorf("reading the request: %w", err)
	}
	return value, nil
}

func complain(w http.ResponseWriter, status int, code, message string) {
	write(w, status, map[string]string{"error": code, "message": message})
}

func write(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", standin.Never)
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
