package workflow

import (
	"slices"
	"strings"
)

// wrong returns what is wrong in form and in meaning. What only seems to be wrong
// in meaning because something of the wrong form is missing is left out.
func (l *linter) wrong() []Problem {
	if len(l.form) == 0 {
		return l.problems
	}
	return append(slices.Clone(l.form), slices.DeleteFunc(l.problems, l.seems)...)
}

// seems reports whether a problem of meaning may follow from one of form.
func (l *linter) seems(p Problem) bool {
	switch {
	case p.Path == "else":
		return l.spoilt("if")
	case strings.Contains(p.Message, "steps") || inside(l.source.lines, p.Line, "steps."):
		if slices.ContainsFunc(l.form, unnames) {
			return true
		}
	}
	// A missing key may be there under another name, and some depend on another: an
	// event is no fact where its kind of trigger stands beside it.
	missing := l.source.Line(p.Path) == 0 || strings.HasSuffix(p.Path, ".event") || strings.HasSuffix(p.Path, ".on_timeout")
	return slices.ContainsFunc(l.form, func(form Problem) bool {
		return within(form.Path, p.Path) || within(p.Path, form.Path) || missing && parent(form.Path) == parent(p.Path)
	})
}

// unnames reports whether a step may have lost its name, or be missing, by the
// problem of form.
func unnames(form Problem) bool {
	if !within(form.Path, "steps") && !within(form.Path, "else") || strings.Contains(form.Path, ".params") {
		return false
	}
	last := form.Path[strings.LastIndexByte(form.Path, '.')+1:]
	return !slices.Contains([]string{"timeout", "expires", "after", "until", "await", "auto_boot", "on_error"}, last)
}

// spoilt reports whether the value at the path has the wrong form, or something
// inside it.
func (l *linter) spoilt(path string) bool {
	return slices.ContainsFunc(l.form, func(form Problem) bool { return within(form.Path, path) })
}

// within reports whether the path is the other one, or leads into it.
func within(path, of string) bool {
	rest, ok := strings.CutPrefix(path, of)
	return ok && (rest == "" || of == "" || rest[0] == '.' || rest[0] == '[')
}
