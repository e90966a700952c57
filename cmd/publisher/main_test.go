package main

import (
	"flag"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/parley-chat/parley/internal/app/apptest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"publisher": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	apptest.Run(t, *update)
}
