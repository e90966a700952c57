package salesforce_test

import (
	"net/http"
	"testing"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/crmtest"
	"github.com/parley-chat/parley/internal/crm/salesforce"
	vendor "github.com/parley-chat/parley/internal/standin/salesforce"
)

// TestC11Lies is row C11: answers that are none.
func TestC11Lies(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	crmtest.Lies{Vendor: r.client.Transport, Honest: "/describe", Connector: func(to http.RoundTripper) crm.Connector {
		return salesforce.New(r.tokens, salesforce.Options{Transport: to})
	}}.Tell(t, bustest.Count(18, 200))
}
