// Package workflow is the language of workflows: YAML files that say what to do
// when something happens. A file is compiled into a program: what starts it, a
// condition, limits, and a list of ops that a machine executes. Conditions and
// values are written in CEL, compiled and typed when the file is loaded.
//
// A program never changes and is named by its digest, so a run can keep the one
// that it began with. Everything here is pure, but for the store of versions.
//
// Files: source.go and check.go read YAML strictly; rule.go is the form of a
// file, program.go what comes out. load.go compiles and indexes; lint*.go and
// compile*.go go through a file and say all that is wrong; loops.go looks at
// workflows that start each other. cel.go holds the language, shape.go its types,
// vars.go its variables, template.go values with expressions in them, bounds.go
// limits. versions.go stores versions, diff*.go compare them. The machine and the
// engine, which execute programs, are packages of their own.
package workflow
