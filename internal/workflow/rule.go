package workflow

import "time"

// Rule is a rule file.
type Rule struct {
	// Name names the rule. It is part of the ids of the rule's commands. The
	// default is the file's name without its ending.
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	On          On     `yaml:"on"`
	// If is a CEL condition. An empty one holds always. A property that the
	// trigger does not have makes the condition false.
	If    string `yaml:"if"`
	Steps []Step `yaml:"steps"`
}

// On says which triggers a rule listens to.
type On struct {
	// Trigger is the kind of trigger, such as "track".
	Trigger string `yaml:"trigger"`
	// Event is the event's name, as the analytics tool writes it. An empty one
	// means every event.
	Event string `yaml:"event"`
	// Sites limits the rule to these sites. None means all.
	Sites []string `yaml:"sites"`
}

// Step is one action that a rule asks for. The steps of a rule become commands
// of one session, which does them in this order.
type Step struct {
	// Name names the step. It is part of the command's id. The default is the
	// step's number, from 1.
	Name string `yaml:"name"`
	// Action is the name or an alias of an action.
	Action string `yaml:"action"`
	// Params are the action's parameters. A text may hold CEL expressions:
	// "${ visitor.email }" alone keeps the type of its value, and one among
	// other text becomes text. "$${" stands for "${".
	Params map[string]any `yaml:"params"`
	// AutoBoot says whether the widget may be booted first. The default is yes.
	AutoBoot *bool `yaml:"auto_boot"`
	// Timeout bounds the action. The default is the action's own.
	Timeout time.Duration `yaml:"timeout"`
	// Expires is how long after the trigger the command is still worth doing.
	// The default is ten minutes.
	Expires time.Duration `yaml:"expires"`
}

// defaultExpiry is short, because an answer to what a visitor did an hour ago
// surprises the visitor.
const defaultExpiry = 10 * time.Minute
