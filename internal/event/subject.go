package event

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/parley-chat/parley/internal/fault"
)

// Class is the scope of an action as a token of a subject, so that "read
// actions only" is one permission.
type Class string

// The classes.
const (
	ClassRead  Class = "r"
	ClassWrite Class = "w"
	ClassAdmin Class = "a"
)

// typePrefix is the reverse domain name in front of every type.
const typePrefix = "chat.parley."

// CommandType returns the CloudEvents type of the action's commands.
func CommandType(action string) string { return typePrefix + "command." + action + ".v1" }

// ResultType returns the CloudEvents type of the action's results.
func ResultType(action string) string { return typePrefix + "result." + action + ".v1" }

// FactType returns the CloudEvents type of the provider's fact, such as
// FactType("botstar", FactWidgetOpened).
func FactType(provider, fact string) string {
	return typePrefix + "event." + provider + "." + fact + ".v1"
}

// TriggerType returns the CloudEvents type of the kind of trigger, such as
// "track".
func TriggerType(kind string) string { return typePrefix + "trigger." + kind + ".v1" }

// DeadLetterType is the CloudEvents type of a dead letter.
const DeadLetterType = typePrefix + "dead.letter.v1"

// ActionOfType returns the action that a command's or result's type names.
func ActionOfType(typ string) (string, bool) {
	for _, kind := range []string{"command.", "result."} {
		if rest, ok := strings.CutPrefix(typ, typePrefix+kind); ok {
			return strings.CutSuffix(rest, ".v1")
		}
	}
	return "", false
}

// CommandSubject returns the subject that a command is published on. The
// action has three tokens.
func CommandSubject(class Class, action, site, session string) string {
	return "cmd." + string(class) + "." + action + "." + site + "." + session
}

// WorkflowCommandSubject returns the subject of a command that a workflow
// issues: the bus carries it on to the commands.
func WorkflowCommandSubject(class Class, action, site, session string) string {
	return "go." + string(class) + "." + action + "." + site + "." + session
}

// DueCommandSubject returns the subject that a timer publishes a command on.
func DueCommandSubject(class Class, action, site, session string) string {
	return "due." + string(class) + "." + action + "." + site + "." + session
}

// ResultSubject returns the subject of a result.
func ResultSubject(action, site, session string) string {
	return "res." + action + "." + site + "." + session
}

// FactSubject returns the subject of a fact such as FactWidgetOpened.
func FactSubject(provider, fact, site, session string) string {
	return "evt." + provider + "." + fact + "." + site + "." + session
}

// TriggerSubject returns the subject of a trigger.
func TriggerSubject(source, kind, site, session string) string {
	return "in." + source + "." + kind + "." + site + "." + session
}

// TimerSubject returns the subject of a session's timer. One subject holds one
// timer: a second one replaces it.
func TimerSubject(site, session, name string) string {
	return "timer." + site + "." + session + "." + name
}

// EffectSubject returns the subject of the effect record of the command with
// the key: see Key.
func EffectSubject(site, session, key string) string {
	return "jrn." + site + "." + session + "." + key
}

// DeadSubject returns the subject of a dead letter. Site and session are "-"
// when the message does not tell them.
func DeadSubject(reason fault.Reason, site, session string) string {
	return "dead." + string(reason) + "." + orDash(site) + "." + orDash(session)
}

// DeadFilter returns the filter of dead letters; "" means every reason, and
// every site.
func DeadFilter(reason fault.Reason, site string) string {
	return "dead." + orStar(string(reason)) + "." + orStar(site) + ".*"
}

func orStar(token string) string {
	if token == "" {
		return "*"
	}
	return token
}

func orDash(token string) string {
	if token == "" {
		return "-"
	}
	return token
}

// QueueFilter returns the filter, on the stored form of commands, of an action
// pattern such as "botstar.widget.*" or "*".
func QueueFilter(pattern string) (string, error) {
	tokens := strings.Split(pattern, ".")
	if pattern == "*" || pattern == "" {
		tokens = []string{"*", "*", "*"}
	}
	if len(tokens) == 2 && tokens[1] == "*" {
		tokens = append(tokens, "*")
	}
	if len(tokens) != 3 {
		return "", fault.New(fault.UnknownAction, "the pattern %q does not have three parts", pattern).
			WithFix("write provider.object.verb, with * for any part, such as botstar.widget.*")
	}
	for _, token := range tokens {
		if token != "*" && !isName(token) {
			return "", fault.New(fault.UnknownAction, "the pattern %q has the part %q", pattern, token).
				WithFix("use lower-case letters, digits and _, or * for any")
		}
	}
	return "cq.*.*." + strings.Join(tokens, ".") + ".*.*", nil
}

// TriggerFilter returns the filter of all triggers. Markers of the inbox are
// not among them.
func TriggerFilter() string { return "in.*.*.*.*" }

// PastSubject returns the subject that a trigger has instead of its own when it
// was filled in afterwards: it is history, which nothing acts on.
func PastSubject(trigger string) string { return trigger + ".past" }

// PastFilter returns the filter of triggers that were filled in afterwards.
func PastFilter() string { return "in.*.*.*.*.past" }

// InboxSubject returns the subject of the inbox's marker of the event with the
// key: see Key. It is there as long as a repetition of the event is known.
func InboxSubject(key string) string { return "in." + key }

// RunsSubject returns the subject of what a visitor's workflows remember: runs
// that are under way, and limits.
func RunsSubject(site, session string) string { return "run." + site + "." + session }

// SiteRunsSubject returns the subject of what the workflows of a site remember.
func SiteRunsSubject(site string) string { return "run." + site + ".-" }

// RunSubject returns the subject of the record of one run.
func RunSubject(site, session, run string) string {
	return "run." + site + "." + session + "." + run
}

// PositionSubject is the subject of how far the workflows have read.
const PositionSubject = "run.-.position"

// WakeSubject returns the subject that a run's timer publishes on. It has too
// few tokens to be taken for a command.
func WakeSubject(site, session, run, timer string) string {
	return "due." + site + "." + session + "." + run + "." + timer
}

// WakeFilter returns the filter of what timers of runs publish.
func WakeFilter() string { return "due.*.*.*.*" }

// CallSubject returns the subject of an HTTP call that a workflow asks for; key
// names the effect.
func CallSubject(site, session, key string) string {
	return "go.http." + site + "." + session + "." + key
}

// CallFilter returns the filter of the HTTP calls that workflows ask for.
func CallFilter() string { return "go.http.*.*.*" }

// SiteFilters returns the filters of everything that is said of the site, in the
// order in which it happens: triggers, commands of workflows and of others,
// results, facts, dead letters. "" means every site.
func SiteFilters(site string) []string {
	if site == "" {
		site = "*"
	}
	const four, three = ".*.*.*.*.", ".*.*.*."
	return []string{
		"in.*.*." + site + ".*", "go" + four + site + ".*", "cmd" + four + site + ".*",
		"res" + three + site + ".*", "evt" + three + site + ".*", "dead.*." + site + ".*",
	}
}

var (
	tokenForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	nameForm  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
)

// IsToken reports whether the text is a legal site or session token.
func IsToken(text string) bool { return tokenForm.MatchString(text) }

func isName(text string) bool { return nameForm.MatchString(text) }

// IsAction reports whether the text has the form of an action's name.
func IsAction(text string) bool {
	tokens := strings.Split(text, ".")
	return len(tokens) == 3 && isName(tokens[0]) && isName(tokens[1]) && isName(tokens[2])
}

// Address is what the subject of a command, result or fact tells.
type Address struct {
	Class         Class // only of a command
	Action        string
	Site, Session string
}

// ParseCommandSubject reads the subject of a command, as it was published or as
// the queue stores it.
func ParseCommandSubject(subject string) (Address, error) {
	tokens := strings.Split(subject, ".")
	switch {
	case len(tokens) == 7 && (tokens[0] == "cmd" || tokens[0] == "go" || tokens[0] == "due"):
		tokens = tokens[1:]
	case len(tokens) == 8 && tokens[0] == "cq":
		tokens = tokens[2:]
	default:
		return Address{}, fault.New(fault.Malformed, "the subject %q is not a command's", subject)
	}
	a := Address{Class: Class(tokens[0]), Action: strings.Join(tokens[1:4], "."), Site: tokens[4], Session: tokens[5]}
	if !IsAction(a.Action) || !IsToken(a.Site) || !IsToken(a.Session) {
		return Address{}, fault.New(fault.Malformed, "the subject %q has an illegal token", subject)
	}
	return a, nil
}

// String returns the address for a person.
func (a Address) String() string { return fmt.Sprintf("%s on %s for %s", a.Action, a.Site, a.Session) }
