// Package workflow turns triggers into commands by rules. A rule is one YAML
// file: what it listens to, a condition, and a list of actions. Conditions and
// parameters are written in CEL, compiled and typed when the file is loaded.
//
// The engine consumes triggers durably. The id of each command follows from the
// rule, the trigger and the step, so a trigger that is delivered again names the
// same commands again, and nothing is done twice.
//
// Files: source.go and check.go read YAML strictly; rule.go is a rule's form;
// load.go reads and lints rule files; cel.go holds the language; template.go the
// values with expressions in them; decide.go goes from a trigger to commands;
// engine.go joins that to the bus.
package workflow
