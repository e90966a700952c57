package workflow

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/parley-chat/parley/internal/fault"
)

// maxSource bounds a YAML file, in bytes.
const maxSource = 1 << 20

// Source is a YAML text that was read strictly, with the place of each of its
// values, so that whoever checks a value can show the line. The configuration
// and the rules are read through it.
type Source struct {
	file   string
	reason fault.Reason
	lines  []string
	places map[string]place
}

type place struct{ line, column int }

// Problem is one thing that is wrong in a source.
type Problem struct {
	File string
	// Line and Column count from 1. They are 0 when the problem has no place.
	Line, Column int
	// Path is the way to the value, such as "sites.shop.mode" or "steps[0]".
	Path    string
	Message string
	Fix     string
	// Excerpt is the line with its neighbours, or "".
	Excerpt string
	// Warning says that the source is accepted all the same.
	Warning bool
}

// String returns the problem as a person reads it: place, path and message,
// then the excerpt, then the fix.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Path != "" {
		b.WriteString(": " + p.Path)
	}
	if p.Warning {
		b.WriteString(": warning")
	}
	b.WriteString(": " + p.Message)
	if p.Excerpt != "" {
		b.WriteString("\n" + p.Excerpt)
	}
	if p.Fix != "" {
		b.WriteString("\n  fix: " + p.Fix)
	}
	return b.String()
}

// SourceError is an error that holds everything that is wrong in one source.
type SourceError struct {
	Reason fault.Reason
	List   []Problem
}

// Error returns all problems, in the order of their lines.
func (p *SourceError) Error() string {
	texts := make([]string, len(p.List))
	for i, problem := range p.List {
		texts[i] = problem.String()
	}
	return strings.Join(texts, "\n")
}

// Unwrap returns the class of the problems.
func (p *SourceError) Unwrap() error { return fault.New(p.Reason, "%s", p.List[0].Message) }

// Read reads the text strictly into the value that into points at. It refuses,
// all at once and each with its line, unknown and repeated keys, values of the
// wrong type, anchors, and a second document. The reason is the class of every
// problem. An empty text leaves into as it is.
func Read(file string, text []byte, reason fault.Reason, into any) (*Source, error) {
	s, problems, err := readMost(file, text, reason, into)
	if err == nil {
		err = s.Fail(problems...)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// readMost is Read for those who look further: it returns what has the wrong form,
// and reads the rest, in which that is missing. The error is for a text of which
// nothing can be read.
func readMost(file string, text []byte, reason fault.Reason, into any) (*Source, []Problem, error) {
	s := &Source{file: file, reason: reason, places: map[string]place{}}
	if len(text) > maxSource {
		return nil, nil, s.Fail(s.Problem("", "", "the file has %d bytes, the limit is %d", len(text), maxSource))
	}
	s.lines = strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, nil, s.Fail(s.syntax(err))
	}
	body, err := s.only(tree)
	if err != nil || body == nil {
		return s, nil, err
	}
	problems := s.check(body, into)
	return s, problems, s.decode(body, text, problems, into)
}

// decode reads the text, or what is left of its tree when something has the wrong
// form.
func (s *Source) decode(body ast.Node, text []byte, problems []Problem, into any) error {
	if len(problems) > 0 {
		if yaml.NodeToValue(body, into) != nil {
			return s.Fail(problems...)
		}
		return nil
	}
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(into); err != nil {
		return s.Fail(s.syntax(err))
	}
	return nil
}

// only returns the body of the one document, or nil when there is none.
func (s *Source) only(tree *ast.File) (ast.Node, error) {
	var body ast.Node
	for _, doc := range tree.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			return nil, s.Fail(s.at(doc.Body, "", "", "this is a second document").fix("keep one document in a file"))
		}
		body = doc.Body
	}
	return body, nil
}

// Problem returns a problem with the value at the path. When the source has no
// such value, the place is that of the nearest one above.
func (s *Source) Problem(path, fix, format string, args ...any) Problem {
	p := Problem{File: s.file, Path: path, Message: fmt.Sprintf(format, args...), Fix: fix}
	for at := path; ; at = parent(at) {
		if found, ok := s.places[at]; ok && at != "" {
			p.Line, p.Column = found.line, found.column
			break
		}
		if at == "" {
			return p
		}
	}
	p.Excerpt = s.excerpt(p.Line, p.Column)
	return p
}

// Within returns a problem with a part of the text at the path, which begins
// that many bytes into it. It marks the part when the text stands on one line.
func (s *Source) Within(path string, offset int, fix, format string, args ...any) Problem {
	p := s.Problem(path, fix, format, args...)
	if p.Line < 1 || p.Line > len(s.lines) {
		return p
	}
	line := s.lines[p.Line-1]
	if p.Column-1 >= len(line) {
		return p
	}
	switch line[p.Column-1] {
	case '|', '>':
		return p
	case '"', '\'':
		if strings.Contains(line, `\`) || strings.Contains(line, "''") {
			return p // What is escaped stands elsewhere in the line.
		}
		offset++
	}
	p.Column += offset
	p.Excerpt = s.excerpt(p.Line, p.Column)
	return p
}

// Fail returns the problems as one error, in the order of their lines. It is
// nil when there are none.
func (s *Source) Fail(problems ...Problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return &SourceError{Reason: s.reason, List: problems}
}

// Line returns the line of the value at the path, or 0.
func (s *Source) Line(path string) int { return s.places[path].line }

func (s *Source) at(node ast.Node, path, fix, format string, args ...any) Problem {
	pos := node.GetToken().Position
	return Problem{
		File: s.file, Line: pos.Line, Column: pos.Column, Path: path, Fix: fix,
		Message: fmt.Sprintf(format, args...), Excerpt: s.excerpt(pos.Line, pos.Column),
	}
}

func (p Problem) fix(text string) Problem {
	p.Fix = text
	return p
}

// syntax returns the problem of an error of the YAML library.
func (s *Source) syntax(err error) Problem {
	var place yaml.Error
	if !asYAML(err, &place) || place.GetToken() == nil {
		return s.Problem("", "", "%s", err)
	}
	pos := place.GetToken().Position
	p := Problem{
		File: s.file, Line: pos.Line, Column: pos.Column, Message: place.GetMessage(),
		Excerpt: s.excerpt(pos.Line, pos.Column),
	}
	if inside(s.lines, pos.Line, "${") {
		p.Fix = `inside { } and [ ], write an expression in quotes: "${ visitor.email }"`
	}
	return p
}

// userinfo is the name and password in an address: an excerpt does not show it.
var userinfo = regexp.MustCompile(`://[^/@\s]+@`)

// excerpt returns the line and the two before it, with a mark under the column.
func (s *Source) excerpt(line, column int) string {
	if line < 1 || line > len(s.lines) {
		return ""
	}
	var b strings.Builder
	for n := max(1, line-2); n <= line; n++ {
		mark := " "
		if n == line {
			mark = ">"
		}
		fmt.Fprintf(&b, "%s %4d | %s\n", mark, n, userinfo.ReplaceAllString(s.lines[n-1], "://***@"))
	}
	b.WriteString("       | " + strings.Repeat(" ", max(0, column-1)) + "^")
	return b.String()
}

func inside(lines []string, line int, text string) bool {
	return line >= 1 && line <= len(lines) && strings.Contains(lines[line-1], text)
}

// parent returns the path without its last part.
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}
