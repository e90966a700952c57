// Package app is the composition root: the configuration, the commands, the
// wiring of the parts, and the order in which they start and stop.
//
// Files: config*.go read, check and explain parley.yaml; cli_*.go are the
// commands of the two binaries; system.go joins the parts, starts and stops
// them; control.go answers an operator's questions, figures.go is what the
// metrics show; failing.go is a test mode; dev.go and demo.go are the
// newcomer's way in.
package app
