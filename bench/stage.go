package main

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/internal/standin"
	"github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// raise serves the stand-ins from this process, which is measured in no
// contender, and puts into the set-up how a browser finds them.
func raise(s *contend.Setup) (io.Closer, error) {
	// The reports of what happened are left out: they cost all contenders the same,
	// and would hide the difference. Nobody looks at the ledger.
	vendor, customer := botstar.New(botstar.Options{Keep: 1, ReportEvery: -1}), shop.New()
	hosts := vendor.Hosts()
	maps.Copy(hosts, customer.Hosts())
	return serve(s, hosts)
}

// serve serves the hosts, and puts into the set-up how a browser finds them.
func serve(s *contend.Setup, hosts map[string]http.Handler) (io.Closer, error) {
	server, err := standin.Start(slog.New(slog.DiscardHandler), hosts)
	if err != nil {
		return nil, fmt.Errorf("starting the stand-ins: %w", err)
	}
	// The product page is as heavy as customers' pages are: photos, a font,
	// analytics.
	s.URL, s.AppID = shop.Origin+"/product", shop.AppID
	s.Resolve, s.SPKI = server.Resolve(), server.SPKI()
	s.Binary = headlessShell
	rules := make([]string, 0, len(s.Resolve))
	for _, host := range slices.Sorted(maps.Keys(s.Resolve)) {
		rules = append(rules, "MAP "+host+" "+s.Resolve[host])
	}
	s.Flags = []string{
		"--host-resolver-rules=" + strings.Join(rules, ","),
		"--ignore-certificate-errors-spki-list=" + s.SPKI,
		"--ip-address-space-overrides=" + server.Addr() + "=public",
		"--disable-background-networking",
		"--disable-component-update",
	}
	return server, nil
}
