// Package machine is how workflows run, without a clock, a bus or a network: a
// pure function from what is remembered and one input to what is remembered
// then, and to what has to be done.
//
// The caller folds the inputs one after another, and stores what a Step changed
// together with what it asks for, all or nothing. Then every input has its effect
// once, whatever crashes between.
//
// Files: record.go is what is remembered; input.go what comes in; effect.go what
// goes out; step.go folds one input; begin.go starts runs, and limit.go says
// whether one may start; advance.go goes from step to step; wait.go wakes runs;
// end.go ends them; again.go repeats them.
package machine
