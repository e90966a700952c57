// Package model plays many workers and many sessions in virtual time: who owns
// which partition, which sessions keep a tab, what commands wait for. It runs
// the code that the product runs, bus.Assign and session.Residency, and models
// the rest by what was measured. One seed gives one run, always.
package model
