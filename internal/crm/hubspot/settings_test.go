package hubspot_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/hubspot"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/hubspot"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	got, err := hubspot.Settings(map[string]string{
		"activities": "event", "event_type": "chat", "key": "our_id", "seq": "our_seq", "activity_key": "our_chat", "channel": "SMS",
		"app": "12", "version": "2026-09", "merge": "false", "rate": "2.5",
	})
	wanted := hubspot.Options{
		Activities: hubspot.Event, EventType: "chat", Key: "our_id", Seq: "our_seq", ActivityKey: "our_chat", Channel: "SMS", App: "12", Version: "2026-09",
		NoMerge: true, Rate: 2.5, Burst: 10,
	}
	if diff := cmp.Diff(wanted, got, cmp.Comparer(func(a, b func()) bool { return a == nil && b == nil })); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
	for name, value := range map[string]string{
		"activities": "call", "key": "Our Key", "merge": "perhaps", "rate": "0", "version": "v3", "unknown": "x", "event_type": "", "channel": "sms",
	} {
		_, err := hubspot.Settings(map[string]string{name: value})
		want(t, err, fault.BadConfig)
		if err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("it does not name %s: %v", name, err)
		}
	}
	_, err = hubspot.Settings(map[string]string{"activities": "event"})
	want(t, err, fault.BadConfig)
}

// TestMapping: the mapping that is used without one fits every account.
func TestMapping(t *testing.T) {
	t.Parallel()
	r := bareRig(t, vendor.Options{}, hubspot.Options{})
	s, err := r.crm.Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := crm.Compile(r.crm.Mapping(), s); err != nil {
		t.Error(err)
	}
}
