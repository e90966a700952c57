package app

import (
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/session"
)

// TestFleetView holds what an operator sees of sessions and workers.
func TestFleetView(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	sessions := []found{
		{"w-1", session.Info{
			Site: "shop", Session: someSession, State: session.Held, Partition: 12, Fence: 41, Pinned: true, Booted: true, Open: true,
			Mode: "livechat", Subscriptions: 2, UsedAt: now.Add(-3 * time.Second), SavedAt: now.Add(-4 * time.Second), Bytes: 2345, Unsaved: true,
		}},
		{"w-2", session.Info{Site: "docs", Session: "a" + someSession[1:], State: session.Held, Busy: true, Partition: 3}},
		{"w-2", session.Info{
			Site: "shop", Session: "b" + someSession[1:], State: session.Hibernated, Booted: true, Mode: "popup\x1b[2J",
			UsedAt: now.Add(-30 * time.Hour), SavedAt: now.Add(-3 * time.Hour), Bytes: 48 << 10, Dropped: []string{"https://shop.example.com"},
		}},
		{"", session.Info{Site: "shop", Session: "c" + someSession[1:], State: session.Hibernated, Partition: 9, Fence: 7, SavedAt: now.Add(-90 * time.Hour), Bytes: 512}},
	}
	workers := []crew{
		{
			Worker: "w-1", State: "works", Since: now.Add(-5 * time.Minute), Version: "v1.2.3", Group: "g1", Filters: []string{"cq.*.w.botstar.widget.>"},
			Partitions: make([]int, 22), Waiting: 7, Status: &status{Sessions: 4, Pages: 2, Memory: 300 << 20},
		},
		{Worker: "w-2", State: "no answer", Since: now.Add(-50 * time.Hour), Group: "g2", Filters: []string{"cq.*.r.botstar.app.>"}, Partitions: make([]int, 42)},
	}
	var b strings.Builder
	v := view{}
	b.WriteString(v.sessions(sessions, 213, now) + "\n")
	b.WriteString(v.sessions(nil, 0, now) + "\n")
	for _, one := range sessions {
		b.WriteString(v.session(one, now) + "\n")
	}
	b.WriteString(v.crew(workers, now) + "\n")
	b.WriteString(v.crew(workers[:1], now))
	if strings.Contains(b.String(), "\x1b") {
		t.Error("what a page says reaches the terminal as it is")
	}
	golden(t, "testdata/fleet.golden", b.String())
}

func TestRoll(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	all := func() []session.Info {
		return []session.Info{
			{Site: "shop", Session: "aa1", State: session.Hibernated, UsedAt: now},
			{Site: "shop", Session: "aa2", State: session.Held, UsedAt: now.Add(-time.Hour)},
			{Site: "docs", Session: "ab3", State: session.Held, UsedAt: now.Add(-time.Minute)},
		}
	}
	tests := []struct {
		q     question
		want  string
		total int
	}{
		{question{}, "ab3 aa2 aa1", 3},
		{question{Site: "shop"}, "aa2 aa1", 2},
		{question{State: session.Held}, "ab3 aa2", 2},
		{question{Prefix: "aa"}, "aa2 aa1", 2},
		{question{Prefix: "aa2", Site: "docs"}, "", 0},
		{question{Most: 1}, "ab3", 3},
	}
	for _, test := range tests {
		got := rollOf(all(), test.q)
		var names []string
		for _, info := range got.Sessions {
			names = append(names, info.Session)
		}
		if strings.Join(names, " ") != test.want || got.Total != test.total {
			t.Errorf("%+v lists %v of %d, want %s of %d", test.q, names, got.Total, test.want, test.total)
		}
	}
	many := make([]session.Info, 3*mostListed)
	if got := rollOf(many, question{Most: 2 * mostListed}); len(got.Sessions) != mostListed || got.Total != len(many) {
		t.Errorf("%d of %d sessions are in an answer", len(got.Sessions), got.Total)
	}
}
