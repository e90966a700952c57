package event

import "strings"

// CRMPositionSubject returns the subject of how far the log was folded for the
// target, a CRM of the configuration.
func CRMPositionSubject(target string) string { return "crm." + target + ".position" }

// CRMAskSubject returns the subject of what people ask the target's leader to do.
func CRMAskSubject(target string) string { return "crm." + target + ".ask" }

// CRMSubject returns the subject of what the target knows of a visitor.
func CRMSubject(target, site, session string) string {
	return "crm." + target + "." + site + "." + session
}

// CRMDueSubject returns the subject of the mark that the target does not have
// everything of a visitor.
func CRMDueSubject(target, site, session string) string {
	return CRMSubject(target, site, session) + ".due"
}

// CRMDeadSubject returns the subject of what the target rejected of a visitor.
func CRMDeadSubject(target, site, session string) string {
	return CRMSubject(target, site, session) + ".dead"
}

// CRMPlace reads the site and the session of a subject of CRMSubject and those
// behind it.
func CRMPlace(subject string) (site, session string, ok bool) {
	tokens := strings.Split(subject, ".")
	if len(tokens) < 4 || tokens[0] != "crm" {
		return "", "", false
	}
	return tokens[2], tokens[3], true
}

// WorkflowCommandFilter returns the filter of the commands that workflows issue.
func WorkflowCommandFilter() string { return "go.*.*.*.*.*.*" }
