package hubspot_test

import (
	"net/http"
	"testing"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/crmtest"
	"github.com/parley-chat/parley/internal/crm/hubspot"
	vendor "github.com/parley-chat/parley/internal/standin/hubspot"
)

// TestC11Lies is row C11: answers that are none.
func TestC11Lies(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	crmtest.Lies{Vendor: r.client.Transport, Honest: "/properties/", Connector: func(to http.RoundTripper) crm.Connector {
		return hubspot.New(r.tokens, hubspot.Options{Transport: to})
	}}.Tell(t, bustest.Count(18, 200))
}
