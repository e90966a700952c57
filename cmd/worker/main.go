// Command worker is Parley's daemon: it performs chat actions in browsers, see
// `worker --help`.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/parley-chat/parley/internal/app"
	"github.com/parley-chat/parley/internal/vault"
)

func main() {
	if err := vault.NoDumps(); err != nil { // It will hold secrets.
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(app.Worker(ctx, app.ThisProcess()))
}
