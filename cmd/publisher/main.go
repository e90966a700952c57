// Command publisher is Parley's producer: it sends actions and events, see
// `publisher --help`.
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
		fmt.Fprintln(os.Stderr, "publisher:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(app.Publisher(ctx, app.ThisProcess()))
}
