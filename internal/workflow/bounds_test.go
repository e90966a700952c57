package workflow

import (
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/event"
)

func TestSpan(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"30m": 30 * time.Minute, "1d": 24 * time.Hour, "1.5d": 36 * time.Hour, "2w": 14 * 24 * time.Hour, "1h30m": 90 * time.Minute,
	} {
		if got, err := parseSpan(text); err != nil || got != want {
			t.Errorf("parseSpan(%q) = %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "1", "-1d", "1 d", "NaNd", "Infw", "1e9w", "1d12h", "soon"} {
		if got, err := parseSpan(text); err == nil {
			t.Errorf("parseSpan(%q) = %s", text, got)
		}
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Rate{
		"100/h": {100, time.Hour}, "5/s": {5, time.Second}, "20/10m": {20, 10 * time.Minute}, "1 / d": {1, 24 * time.Hour},
	} {
		if got, ok := parseRate(text); !ok || got != want {
			t.Errorf("parseRate(%q) = %v, %t; want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "100", "0/h", "-1/h", "1/", "1/0s", "x/h", "1/year"} {
		if got, ok := parseRate(text); ok {
			t.Errorf("parseRate(%q) = %v", text, got)
		}
	}
}

// TestQuiet shows when quiet hours end, also over midnight and on the days when
// the clocks change.
func TestQuiet(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	night := Quiet{From: 22 * 60, To: 8 * 60, Zone: berlin}
	noon := Quiet{From: 12 * 60, To: 13*60 + 30, Zone: time.UTC}
	tests := []struct {
		name     string
		quiet    Quiet
		at, ends string
	}{
		{"in the evening", night, "2026-11-25T22:00:00+01:00", "2026-11-26T08:00:00+01:00"},
		{"at the last minute", night, "2026-11-25T07:59:59+01:00", "2026-11-25T08:00:00+01:00"},
		{"at the end", night, "2026-11-25T08:00:00+01:00", ""},
		{"by day", night, "2026-11-25T21:59:59+01:00", ""},
		{"in another zone", night, "2026-11-25T21:30:00Z", "2026-11-26T08:00:00+01:00"},
		{"before summer time", night, "2026-03-28T23:00:00+01:00", "2026-03-29T08:00:00+02:00"},
		{"before winter time", night, "2026-10-24T23:00:00+02:00", "2026-10-25T08:00:00+01:00"},
		{"on new year's eve", night, "2026-12-31T23:30:00+01:00", "2027-01-01T08:00:00+01:00"},
		{"within a day", noon, "2026-11-25T12:00:00Z", "2026-11-25T13:30:00Z"},
		{"after it", noon, "2026-11-25T13:30:00Z", ""},
		{"before it", noon, "2026-11-25T11:59:00Z", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			at, err := time.Parse(time.RFC3339, test.at)
			if err != nil {
				t.Fatal(err)
			}
			got, quiet := test.quiet.Ends(at)
			if quiet != (test.ends != "") {
				t.Fatalf("quiet = %t, until %s", quiet, got)
			}
			if !quiet {
				return
			}
			want, err := time.Parse(time.RFC3339, test.ends)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Equal(want) {
				t.Errorf("they end at %s, want %s", got, want)
			}
		})
	}
}

// TestHoldout shows that the share is about right, that a visitor's side never
// changes, and that two workflows hold out different visitors.
func TestHoldout(t *testing.T) {
	t.Parallel()
	const visitors = 20_000
	h := Holdout{Percent: 10}
	held, both := 0, 0
	for i := range visitors {
		session := event.SessionKey("shop", event.Visitor{UserID: strconv.Itoa(i)})
		is := h.Holds("a", session)
		if is != h.Holds("a", session) {
			t.Fatalf("%s changes sides", session)
		}
		if is {
			held++
			if h.Holds("b", session) {
				both++
			}
		}
	}
	if share := float64(held) / visitors; math.Abs(share-0.1) > 0.01 {
		t.Errorf("%.3f of the visitors are held out, want 0.1", share)
	}
	if share := float64(both) / float64(held); math.Abs(share-0.1) > 0.03 {
		t.Errorf("of them another workflow holds out %.3f, want 0.1", share)
	}
	if one, other := (Holdout{Percent: 50, Salt: "x"}), (Holdout{Percent: 50, Salt: "x"}); one.Holds("a", "s") != other.Holds("b", "s") {
		t.Error("one salt gives two answers")
	}
}

func TestConsents(t *testing.T) {
	t.Parallel()
	yes, no := new(true), new(false)
	for _, test := range []struct {
		name string
		of   *event.Consent
		want bool
	}{
		{"nothing told", nil, true},
		{"nothing in it", &event.Consent{}, true},
		{"all given", &event.Consent{Functionality: yes, Personalization: yes, GPC: no}, true},
		{"advertising denied", &event.Consent{Advertising: no, Analytics: no}, true},
		{"functionality denied", &event.Consent{Functionality: no}, false},
		{"personalization denied", &event.Consent{Functionality: yes, Personalization: no}, false},
		{"global privacy control", &event.Consent{Functionality: yes, Personalization: yes, GPC: yes}, false},
	} {
		if got := Consents(test.of); got != test.want {
			t.Errorf("%s: Consents = %t, want %t", test.name, got, test.want)
		}
	}
}
