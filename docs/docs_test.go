// Package docs_test holds the documents against what they speak of: links lead
// somewhere, commands exist, lists are complete.
package docs_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/app"
)

const root = ".."

// page is one document of the repository, by its path below the root.
type page struct{ name, text string }

// pages returns every Markdown file that is ours.
func pages(t *testing.T) []page {
	t.Helper()
	var all []page
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			base := path.Base(name)
			if base == "node_modules" || base == "testdata" || len(base) > 1 && base[0] == '.' {
				return fs.SkipDir
			}
		case path.Ext(name) == ".md":
			all = append(all, page{name, read(t, name)})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLinksResolve(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, p := range pages(t) {
		for _, match := range link.FindAllStringSubmatch(withoutCode(p.text), -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			file := p.name
			if target != "" {
				file = path.Join(path.Dir(p.name), target)
			}
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(file))); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", p.name, match[1])
				continue
			}
			if anchor != "" && path.Ext(file) == ".md" && !slices.Contains(anchors(read(t, file)), anchor) {
				t.Errorf("%s: %s has no heading #%s", p.name, file, anchor)
			}
		}
	}
}

// withoutCode removes the code from a page: what looks like a link there is
// none.
func withoutCode(text string) string {
	text = regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllString(text, "")
}

// anchors returns the headings of a page as a link names them.
func anchors(text string) []string {
	var all []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := strings.ToLower(strings.TrimSpace(heading[1]))
		name = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(name, "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}

func TestTheIndexOfDecisionsIsComplete(t *testing.T) {
	t.Parallel()
	index := read(t, "docs/decisions/README.md")
	files, err := filepath.Glob("decisions/*.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`^(\d{4}-\d{2}-\d{2})-[a-z0-9-]+\.md$`)
	status := regexp.MustCompile(`(?m)^Status: (accepted|replaced|amended), \d{4}-\d{2}-\d{2}`)
	amends := regexp.MustCompile(`(?i)(?:amends|replaces) \[[^\]]*\]\(([^)]+)\)`)
	for _, file := range files {
		base := filepath.Base(file)
		if base == "README.md" {
			continue
		}
		text := read(t, "docs/decisions/"+base)
		date := name.FindStringSubmatch(base)
		if date == nil {
			t.Errorf("%s is not called YYYY-MM-DD-slug.md", base)
			continue
		}
		title, _, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n")
		if row := "| " + date[1] + " | [" + title + "](" + base + ") |"; !strings.Contains(index, row) {
			t.Errorf("the index lacks the row\n%s", row)
		}
		if !status.MatchString(text) {
			t.Errorf("%s has no line of the form \"Status: accepted, 2026-11-25\"", base)
		}
		for _, earlier := range amends.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(read(t, "docs/decisions/"+earlier[1]), "("+base+")") {
				t.Errorf("%s amends %s, which does not name it", base, earlier[1])
			}
		}
	}
}

// TestCommandsExist looks at every line of a shell block: its make target is in
// the Makefile, and its command and flags are those that the program's own help
// shows.
func TestCommandsExist(t *testing.T) {
	t.Parallel()
	targets := regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(read(t, "Makefile"), -1)
	seen := 0
	for _, p := range pages(t) {
		for _, line := range shellLines(p.text) {
			words := strings.Fields(line)
			switch path.Base(words[0]) {
			case "make":
				seen++
				if !slices.ContainsFunc(targets, func(target []string) bool { return target[1] == words[1] }) {
					t.Errorf("%s: `%s`: there is no such target", p.name, line)
				}
			case "publisher", "worker":
				seen++
				checkCommand(t, p.name, line, words)
			case "docker":
				if at := slices.IndexFunc(words, func(w string) bool { return w == "publisher" || w == "worker" }); at >= 0 {
					seen++
					checkCommand(t, p.name, line, words[at:])
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d commands were found in all documents: the search is broken", seen)
	}
}

// shellLines returns the lines of the blocks that are marked as shell.
func shellLines(text string) []string {
	var lines []string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[1]) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// checkCommand holds a command line against the program's own help.
func checkCommand(t *testing.T, where, line string, words []string) {
	t.Helper()
	program := app.Worker
	if path.Base(words[0]) == "publisher" {
		program = app.Publisher
	}
	if len(words) < 2 {
		t.Errorf("%s: `%s` names no command", where, line)
		return
	}
	help, problem := helpOf(t, program, words[1:2])
	if problem != "" {
		t.Errorf("%s: `%s`: there is no such command: %s", where, line, problem)
		return
	}
	for n := 3; n <= len(words) && !strings.HasPrefix(words[n-1], "-"); n++ { // Commands of commands.
		if deeper, problem := helpOf(t, program, words[1:n]); problem == "" {
			help = deeper
		}
	}
	for _, word := range words[2:] {
		flag, _, _ := strings.Cut(word, "=")
		if flag == "|" {
			break
		}
		if strings.HasPrefix(flag, "-") && !regexp.MustCompile(`(?m)(^|[\s,])`+regexp.QuoteMeta(flag)+`($|[\s,=])`).MatchString(help) {
			t.Errorf("%s: `%s`: %s has no flag %s", where, line, words[1], flag)
		}
	}
}

// helpOf returns the help of the command, or what is wrong with it.
func helpOf(t *testing.T, program func(context.Context, app.Process) int, words []string) (help, problem string) {
	t.Helper()
	var out, problems bytes.Buffer
	p := app.Process{Args: append(slices.Clone(words), "--help"), Env: app.Env{}, Stdout: &out, Stderr: &problems}
	if program(t.Context(), p) != 0 {
		return "", problems.String()
	}
	return out.String(), ""
}

func TestEveryDependencyIsListed(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, match := range regexp.MustCompile(`(?m)^(?:require )?\s*(\S+\.\S+/\S+|\S+\.\S+) v\S+`).FindAllStringSubmatch(read(t, "go.mod"), -1) {
		want = append(want, match[1])
	}
	for line := range strings.Lines(read(t, "docs/dependencies.txt")) {
		fields := strings.Fields(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		if len(fields) < 3 || fields[1] == "?" {
			t.Errorf("docs/dependencies.txt: %q names no licence or no reason", line)
			continue
		}
		got = append(got, fields[0])
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/dependencies.txt and go.mod differ (-go.mod +list):\n%s", diff)
	}
}

func TestEveryChangeSaysWhatItIs(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(root + "/changelog/unreleased/*.md")
	if err != nil {
		t.Fatal(err)
	}
	first := regexp.MustCompile(`^(Added|Changed|Fixed): [^\n]+\n`)
	for _, file := range files {
		if !first.MatchString(read(t, "changelog/unreleased/"+filepath.Base(file))) {
			t.Errorf("%s does not begin with Added:, Changed: or Fixed:", file)
		}
	}
}

// TestTheExamplesLoad reads the configurations that the documents point to as a
// worker would.
func TestTheExamplesLoad(t *testing.T) {
	t.Parallel()
	catalog, err := actions.NewCatalog(botstar.Provider())
	if err != nil {
		t.Fatal(err)
	}
	config, err := app.LoadConfig(root+"/deploy/docker/parley.yaml", app.Env{}, catalog)
	if err != nil {
		t.Fatal(err)
	}
	if len(config.Sites) == 0 || len(config.Warnings) > 0 {
		t.Errorf("%d sites, warnings %v", len(config.Sites), config.Warnings)
	}
}
