package app

import (
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/fault"
)

// TestHubSpotTarget: what is wrong with a target of HubSpot is said before
// anything starts, at its place.
func TestHubSpotTarget(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ lines, at string }{
		{"    settings: {activities: note, merge: 'false'}\n", ""},
		{"    url: http://127.0.0.1:8080\n", ""},
		{"    settings: {activities: fax}\n", "crm.targets.hs.settings"},
		{"    settings: {keys: x}\n", "crm.targets.hs.settings"},
		{"    settings: {activities: event}\n", "crm.targets.hs.settings"},
		{"    url: http://api.example.com\n", "crm.targets.hs.url"},
		{"    url: https://user@api.example.com\n", "crm.targets.hs.url"},
	} {
		cfg, err := parseConfig("parley.yaml", []byte(oneSite+"crm:\n targets:\n  hs:\n    type: hubspot\n"+test.lines), Env{}, catalogue(t))
		if test.at == "" {
			if err != nil || cfg.CRM.Targets["hs"].Type != "hubspot" {
				t.Errorf("%s: %v", test.lines, err)
			}
			continue
		}
		if fault.From(err) == nil || fault.From(err).Reason != fault.BadConfig || !strings.Contains(err.Error(), test.at) {
			t.Errorf("%s: %v", test.lines, err)
		}
	}
}
