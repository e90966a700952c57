package pipedrive_test

import (
	"net/http"
	"testing"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/crmtest"
	"github.com/parley-chat/parley/internal/crm/pipedrive"
)

// TestC11Lies is row C11: answers that are none.
func TestC11Lies(t *testing.T) {
	t.Parallel()
	tokens := &crmtest.Static{List: []string{crmtest.Canary}, Accounts: map[string]string{"api_domain": "https://" + host}}
	crmtest.Lies{Connector: func(to http.RoundTripper) crm.Connector {
		return pipedrive.New(tokens, pipedrive.Options{Transport: to})
	}}.Tell(t, bustest.Count(18, 200))
}
