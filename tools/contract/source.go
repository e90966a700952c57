package contract

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
)

const (
	module       = "github.com/parley-chat/parley"
	eventPackage = module + "/internal/event"
)

// source is what the contract takes from the text of the Go code: comments, and
// the values of the event package's string types.
type source struct {
	comments map[string]string
	enums    map[string][]any
}

// readSource reads the repository at root.
func readSource(root string) (source, error) {
	s := source{enums: map[string][]any{}}
	here, err := filepath.Abs(".")
	if err != nil {
		return s, fmt.Errorf("finding the working folder: %w", err)
	}
	top, err := filepath.Abs(root)
	if err != nil {
		return s, fmt.Errorf("finding the repository: %w", err)
	}
	down, err := filepath.Rel(top, here)
	if err != nil {
		return s, fmt.Errorf("finding the repository: %w", err)
	}
	up, err := filepath.Rel(here, top)
	if err != nil {
		return s, fmt.Errorf("finding the repository: %w", err)
	}
	// The library joins the base with the path that it walks: from below the
	// root, the dots of the path cancel the steps of the base.
	base := module + "/" + filepath.ToSlash(down)
	var reflector jsonschema.Reflector
	for _, folder := range []string{"internal/event", "internal/actions"} {
		if err := reflector.AddGoComments(base, filepath.Join(up, folder), jsonschema.WithFullComment()); err != nil {
			return s, fmt.Errorf("reading the comments of %s: %w", folder, err)
		}
	}
	s.comments = reflector.CommentMap
	return s, s.readEnums(filepath.Join(up, "internal", "event"))
}

// readEnums collects the constants of the folder's string types.
func (s source) readEnums(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("reading the constants: %w", err)
	}
	files := token.NewFileSet()
	for _, entry := range entries {
		name := entry.Name()
		if filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, filepath.Join(folder, name), nil, 0)
		if err != nil {
			return fmt.Errorf("reading the constants: %w", err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				s.addConstant(spec)
			}
			return true
		})
	}
	return nil
}

// addConstant notes a constant such as Failed Status = "failed".
func (s source) addConstant(spec *ast.ValueSpec) {
	typ, ok := spec.Type.(*ast.Ident)
	if !ok || typ.Name == "string" {
		return
	}
	for _, value := range spec.Values {
		literal, ok := value.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			continue
		}
		if text, err := strconv.Unquote(literal.Value); err == nil {
			s.enums[typ.Name] = append(s.enums[typ.Name], text)
		}
	}
}

// enum is the schema of a string type with constants, or nil.
func (s source) enum(t reflect.Type) *jsonschema.Schema {
	if t.PkgPath() != eventPackage || len(s.enums[t.Name()]) == 0 {
		return nil
	}
	return &jsonschema.Schema{Type: "string", Enum: s.enums[t.Name()]}
}

// comment returns the comment of a type, or of one of its fields.
func (s source) comment(t reflect.Type, field string) string {
	key := t.PkgPath() + "." + t.Name()
	if field != "" {
		return strings.Join(strings.Fields(s.comments[key+"."+field]), " ")
	}
	text := strings.Join(strings.Fields(s.comments[key]), " ")
	if rest, ok := strings.CutPrefix(text, t.Name()+" "); ok {
		return "This " + rest
	}
	return text
}

var word = regexp.MustCompile(`[A-Za-z]+`)

// plain calls the fields by their names in JSON, where the comment uses their
// names in Go. A word that only begins a sentence is left alone, unless it
// begins the comment.
func plain(comment string, members []string) string {
	names := map[string]string{}
	for _, member := range members {
		names[strings.ToLower(strings.ReplaceAll(member, "_", ""))] = member
	}
	var out strings.Builder
	last := 0
	for _, at := range word.FindAllStringIndex(comment, -1) {
		found := comment[at[0]:at[1]]
		member, ok := names[strings.ToLower(found)]
		if !ok || found[0] > 'Z' || strings.HasSuffix(comment[:at[0]], ". ") && !camel(found) {
			continue
		}
		out.WriteString(comment[last:at[0]])
		out.WriteString(member)
		last = at[1]
	}
	return out.String() + comment[last:]
}

// camel reports whether the word has a capital inside, as names in Go have.
func camel(word string) bool { return word[1:] != strings.ToLower(word[1:]) }
