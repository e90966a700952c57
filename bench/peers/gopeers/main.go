// Command gopeers is what Parley's bus figures are measured against: the same
// work by the libraries alone. It is a module of its own, so that these
// libraries stay out of Parley's.
package main

import (
	"fmt"
	"os"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/crowd"
	"github.com/parley-chat/parley/bench/message"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == crowd.Command {
		if err := crowd.Run(os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "gopeers:", err)
			os.Exit(1)
		}
		return
	}
	if err := contend.Serve(os.Stdin, os.Stdout, start); err != nil {
		fmt.Fprintln(os.Stderr, "gopeers:", err)
		os.Exit(1)
	}
}

// start prepares the job that the setup names.
func start(s contend.Setup) (contend.Job, error) {
	switch s.Job {
	case "bus-naive":
		return startNaive(s)
	case "bus-raw":
		return startRaw(s)
	case "bus-watermill":
		return startWatermill(s)
	case "ingest-raw-single":
		return startRawIngest(s, 1)
	case "ingest-raw-batch":
		return startRawIngest(s, message.BatchOf)
	case "event-watermill":
		return startMillFilter(s)
	case "visitor-centrifuge":
		return crowd.Hold(s, &centrifugal{})
	case "raw-kv":
		return startRawKV(s, false)
	case "raw-kv-leader":
		return startRawKV(s, true)
	case "raw-action":
		return startRawAction(s)
	case "codec-sdk":
		return codecSDK{}, nil
	}
	return nil, fmt.Errorf("no job is called %q", s.Job)
}
