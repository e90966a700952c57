package session

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/browser"
)

func TestSnapshotForm(t *testing.T) {
	t.Parallel()
	snap := Snapshot{Site: "shop", Session: "s", Storage: &browser.Storage{Origins: []browser.Origin{
		{Origin: "https://a.example", Local: map[string]string{"b": "2", "a": "1"}, Session: map[string]string{"": "\xff"}},
		{Origin: "https://b.example"},
	}}}
	text, err := encodeSnapshot(nil, snap)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeSnapshot(text)
	if diff := cmp.Diff(snap, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	again, err := encodeSnapshot(nil, got)
	if err != nil || string(again) != string(text) || sumOf(snap) != sumOf(got) {
		t.Errorf("equal snapshots are encoded alike: %v", err)
	}
	for n := range text { // No part of one is a whole one.
		if got, err := decodeSnapshot(text[:n]); err == nil {
			t.Errorf("cut to %d bytes of %d: %+v", n, len(text), got)
		}
	}
	if _, err := decodeSnapshot(append(text, 0)); err == nil {
		t.Error("a byte too many")
	}
}

func FuzzDecodeSnapshot(f *testing.F) {
	for _, snap := range []Snapshot{
		{}, {Site: "shop", Storage: &browser.Storage{Origins: []browser.Origin{{Origin: "https://a", Local: map[string]string{"a": "1"}}}}},
	} {
		text, err := encodeSnapshot(nil, snap)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("\x01\x02{}\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, text []byte) {
		snap, err := decodeSnapshot(text)
		if err != nil {
			return
		}
		again, err := encodeSnapshot(nil, snap)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeSnapshot(again); err != nil || cmp.Diff(snap, got) != "" {
			t.Errorf("not the same when encoded again: %v\n%s", err, cmp.Diff(snap, got))
		}
	})
}
