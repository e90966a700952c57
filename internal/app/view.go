package app

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/parley-chat/parley/internal/event"
)

// clock is how a time is shown.
const clock = "15:04:05.000"

// view shows events to a person, one per line.
type view struct {
	colour bool
	// since, if set, makes times relative to it.
	since time.Time
}

// stamp shows a time.
func (v view) stamp(at time.Time) string {
	if v.since.IsZero() {
		return v.paint(dim, at.Local().Format(clock))
	}
	return v.paint(dim, fmt.Sprintf("%6.2fs", at.Sub(v.since).Seconds()))
}

// The colours, as terminals number them.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
	cyan   = "36"
	dim    = "2"
	bold   = "1"
)

func (v view) paint(colour, text string) string {
	if !v.colour || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// line shows one message of the bus: when, what kind, what, how it went, and
// whose.
func (v view) line(subject string, at time.Time, e event.Envelope) string {
	row := rowOf(subject, e)
	if at.IsZero() {
		at = e.Time
	}
	text := fmt.Sprintf("%s  %s  %s  %s", v.stamp(at), v.paint(row.colour, pad(row.kind, 7)),
		v.paint(dim, pad(row.whose, 11)), pad(row.what, 22))
	if row.how != "" {
		text += "  " + v.paint(row.colour, row.how)
	}
	if row.more != "" {
		text += "  " + v.paint(dim, row.more)
	}
	return strings.TrimRight(text, " ")
}

// row is a line in its parts.
type row struct{ kind, what, how, more, whose, colour string }

func rowOf(subject string, e event.Envelope) row {
	word, _, _ := strings.Cut(subject, ".")
	r := row{kind: word, what: e.Type, whose: whose(subject)}
	switch word {
	case "in":
		r.trigger(e)
	case "cmd", "go", "due", "cq":
		r.command(e)
	case "res":
		r.result(e)
	case "evt":
		r.fact(subject, e)
	case "dead":
		r.dead(e)
	}
	return r
}

func (r *row) trigger(e event.Envelope) {
	var data event.Trigger
	_ = json.Unmarshal(e.Data, &data) // What cannot be read is shown as empty.
	r.kind, r.what, r.colour = "trigger", printable(data.Event), blue
	r.more = pairs(data.Properties)
}

func (r *row) command(e event.Envelope) {
	r.kind, r.colour = "command", dim
	if action, ok := event.ActionOfType(e.Type); ok {
		r.what = action
	}
	if rule, ok := strings.CutPrefix(e.Source, "/workflows/"); ok {
		r.more = "by rule " + rule
	}
}

func (r *row) result(e event.Envelope) {
	var data event.Result
	_ = json.Unmarshal(e.Data, &data) // What cannot be read is shown as empty.
	r.kind, r.what = "result", data.Action
	r.how, r.colour = verdict(data)
	r.more = took(time.Duration(data.DurationUS) * time.Microsecond)
	if data.Problem != nil {
		r.more = printable(data.Problem.Message)
	}
}

// verdict says in one word how a command ended, and in which colour.
func verdict(r event.Result) (text, colour string) {
	switch r.Status {
	case event.Succeeded:
		switch r.Verdict {
		case event.Confirmed:
			return "verified", green
		case event.Unverifiable:
			return "done, unverifiable", green
		case event.Unconfirmed, event.Contradicted:
			return string(r.Verdict), yellow
		}
		return "done", green
	case event.Queued:
		return "queued", yellow
	case event.Failed, event.Rejected, event.Expired:
		text = string(r.Status)
		if r.Problem != nil {
			text += " " + r.Problem.Reason
		}
		return text, red
	}
	return string(r.Status), red
}

func (r *row) fact(subject string, e event.Envelope) {
	tokens := strings.Split(subject, ".")
	if len(tokens) >= 4 {
		r.what = tokens[2] + "." + tokens[3]
	}
	var data event.Occurrence
	_ = json.Unmarshal(e.Data, &data) // What cannot be read is shown as empty.
	r.kind, r.colour = "event", cyan
	if data.Cause != "" {
		r.how = "cause " + string(data.Cause)
	}
}

func (r *row) dead(e event.Envelope) {
	var data event.DeadLetter
	_ = json.Unmarshal(e.Data, &data) // What cannot be read is shown as empty.
	r.kind, r.what, r.colour = "dead", data.Problem.Reason, red
	r.more = printable(data.Problem.Message)
}

// took shows a duration with as many digits as tell something.
func took(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}

// whose returns the site and the beginning of the session's key.
func whose(subject string) string {
	tokens := strings.Split(subject, ".")
	if len(tokens) < 3 {
		return ""
	}
	site, session := tokens[len(tokens)-2], tokens[len(tokens)-1]
	return site + "/" + session[:min(6, len(session))]
}

// pairs returns a few properties for a person.
func pairs(properties map[string]any) string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		texts = append(texts, printable(fmt.Sprintf("%s=%v", name, properties[name])))
		if len(texts) == 4 {
			break
		}
	}
	return strings.Join(texts, " ")
}

// printable returns untrusted text so that it cannot move the cursor, at most
// 160 characters of it.
func printable(text string) string {
	runes := []rune(strings.ToValidUTF8(text, "�"))
	if len(runes) > 160 {
		runes = append(runes[:159], '…')
	}
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = ' '
		}
	}
	return string(runes)
}

// pad fills the text with spaces up to the width.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-len([]rune(text))))
}
