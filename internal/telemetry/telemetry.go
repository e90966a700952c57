// Package telemetry sets up, once and to be handed down, how a process tells
// what it does: logs, metrics and health. The names of the log attributes and
// of the metrics are a contract: see attrs.go and metrics.go.
package telemetry
