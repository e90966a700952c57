//go:build !race

package ingest_test

// raced says that the race detector watches, which takes memory of its own.
const raced = false
