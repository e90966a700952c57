package bustest

import (
	"flag"
	"time"
)

// soak is the flag -soak, of the tests of every package that imports this one.
var soak = flag.Bool("soak", false, "do as often as the long form of the test says; see `make soak-ingest`") //nolint:gochecknoglobals // A flag.

// Count returns how often a test does something: quick in every run of the
// tests, long with the flag -soak.
func Count(quick, long int) int {
	if *soak {
		return long
	}
	return quick
}

// patienceNow is how long a wait is: the long forms have more to wait for.
func patienceNow() time.Duration { return patience * time.Duration(Count(1, 40)) }
