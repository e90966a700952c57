// Package app is the composition root: the configuration, the commands, the
// wiring of the parts, and the order in which they start and stop.
//
// Files: config*.go read, check and explain parley.yaml; cli_*.go are the
// commands of the two binaries; wire.go joins the parts, run.go starts and
// stops them; dev.go and demo.go are the newcomer's way in.
package app
