package workflow

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/event"
)

// Span is a duration that also knows days and weeks: 30m, 24h, 7d, 2w.
type Span time.Duration

// UnmarshalText reads the span.
func (s *Span) UnmarshalText(text []byte) error {
	d, err := parseSpan(string(text))
	*s = Span(d)
	return err
}

// String returns the span as a duration.
func (s Span) String() string { return time.Duration(s).String() }

// parseSpan reads a duration. Days and weeks stand alone: they are 24 and 168
// hours.
func parseSpan(text string) (time.Duration, error) {
	for unit, hours := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		number, ok := strings.CutSuffix(text, unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || !(n >= 0 && n <= 36_500) {
			return 0, fmt.Errorf("reading the duration %q", text)
		}
		return time.Duration(n * float64(hours)), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("reading a duration: %w", err)
	}
	return d, nil
}

// Rate is how many in which time. The zero Rate bounds nothing.
type Rate struct {
	N   int
	Per time.Duration
}

// parseRate reads a rate such as 100/h, 5/s, 20/10m.
func parseRate(text string) (Rate, bool) {
	number, unit, ok := strings.Cut(text, "/")
	n, err := strconv.Atoi(strings.TrimSpace(number))
	if !ok || err != nil || n < 1 {
		return Rate{}, false
	}
	unit = strings.TrimSpace(unit)
	if unit != "" && (unit[0] < '0' || unit[0] > '9') {
		unit = "1" + unit
	}
	per, err := parseSpan(unit)
	if err != nil || per <= 0 {
		return Rate{}, false
	}
	return Rate{n, per}, true
}

// Quiet are compiled quiet hours.
type Quiet struct {
	// From and To are minutes of a day.
	From, To int
	Zone     *time.Location
	// Wait says that what happens then waits until they end; else it is skipped.
	Wait bool
}

// Ends returns when the quiet hours end in which t is, and false when t is in
// none. The clocks of the zone decide, also on the days when they change.
func (q Quiet) Ends(t time.Time) (time.Time, bool) {
	local := t.In(q.Zone)
	minute := local.Hour()*60 + local.Minute()
	day := local.Day()
	switch {
	case q.From <= q.To && (minute < q.From || minute >= q.To):
		return time.Time{}, false
	case q.From > q.To && minute >= q.To && minute < q.From:
		return time.Time{}, false
	case q.From > q.To && minute >= q.From:
		day++
	}
	return time.Date(local.Year(), local.Month(), day, q.To/60, q.To%60, 0, 0, q.Zone).UTC(), true
}

// parseClock reads a time of a day, such as 22:00, in minutes.
func parseClock(text string) (int, bool) {
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0, false
	}
	return t.Hour()*60 + t.Minute(), true
}

// Holds reports whether the visitor with the session key is held out of the
// workflow. The answer is the same each time.
func (h Holdout) Holds(workflow, session string) bool {
	salt := h.Salt
	if salt == "" {
		salt = workflow
	}
	sum := sha256.Sum256([]byte(salt + "\x00" + session))
	return float64(binary.BigEndian.Uint32(sum[:4])) < h.Percent/100*(1<<32)
}

// HeldOut reports whether the visitor with the session key is held out.
func (p *Program) HeldOut(session string) bool {
	return p.Holdout != nil && p.Holdout.Holds(p.Name, session)
}

// Consents reports whether the trigger's consent lets a workflow start that
// requires it: nothing that it needs was denied. A flag that was not told denies
// nothing.
func Consents(c *event.Consent) bool {
	if c == nil {
		return true
	}
	denied := func(flag *bool) bool { return flag != nil && !*flag }
	return !denied(c.Functionality) && !denied(c.Personalization) && (c.GPC == nil || !*c.GPC)
}
