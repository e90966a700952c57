package workflow

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
)

// keys finds the keys in a line of YAML.
var keys = regexp.MustCompile(`([{,\-] ?|^ *)([a-z_]+):( |$)`)

// misspelt returns the text once for every key in it, with that key misspelt.
func misspelt(text string) []string {
	var all []string
	for _, at := range keys.FindAllStringSubmatchIndex(text, -1) {
		all = append(all, text[:at[4]]+"x"+text[at[4]:])
	}
	return all
}

// unkeyed returns the text once for every value of one line in it, with a list in
// place of that value.
func unkeyed(text string) []string {
	lines := strings.Split(text, "\n")
	var all []string
	for i, line := range lines {
		key, value, ok := strings.Cut(line, ": ")
		if !ok || value == "" || strings.Contains(key, "{") || strings.HasPrefix(line, "#") || strings.HasSuffix(value, ">-") || strings.HasSuffix(value, "|") {
			continue
		}
		other := slices.Clone(lines)
		other[i] = key + ": [[]]"
		all = append(all, strings.Join(other, "\n"))
	}
	return all
}

// said returns what is said of the text: all of it, and what is of its form.
func said(t *testing.T, c *Compiler, text string) (all, form []string) {
	t.Helper()
	list := func(err error) []string {
		var messages []string
		if wrong, ok := errors.AsType[*SourceError](err); ok {
			for _, p := range wrong.List {
				messages = append(messages, fmt.Sprintf("%d %s: %s", p.Line, p.Path, p.Message))
			}
		}
		return messages
	}
	_, err := c.Compile("rule.yaml", []byte(text))
	_, wrong := Read("rule.yaml", []byte(text), fault.BadRule, &Rule{})
	return list(err), list(wrong)
}

// examples returns workflows in which nothing is wrong.
func examples(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"testdata/full.yaml", "../../examples/*/workflows/*.yaml", "../../examples/*/*.yaml", "../../examples/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil {
				texts[file] = string(text)
			}
		}
	}
	return texts
}

// TestFormAlone spoils one key or value after the other in workflows in which
// nothing is wrong. What is said is what is wrong in form: nothing seems wrong in
// meaning because of it.
func TestFormAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	spoilt := 0
	for file, text := range examples(t) {
		if _, err := b.compiler.Compile("rule.yaml", []byte(text)); err != nil {
			continue // It is about other sites.
		}
		for i, other := range append(misspelt(text), unkeyed(text)...) {
			if i%bustest.Count(4, 1) > 0 {
				continue
			}
			all, form := said(t, b.compiler, other)
			if len(form) == 0 {
				continue // It was a name that may be any.
			}
			spoilt++
			if diff := cmp.Diff(form, all); diff != "" {
				t.Errorf("%s, spoilt in one place, seems wrong in others (-form +all):\n%s\n%s", file, diff, other)
			}
		}
	}
	t.Logf("%d workflows with one mistake of form", spoilt)
	if spoilt < 50 {
		t.Errorf("only %d workflows were spoilt", spoilt)
	}
}

// TestFormHidesNothing makes a mistake of meaning and one of form elsewhere: both
// are said, with their lines.
func TestFormHidesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const good = `
on: {trigger: track, event: Pricing Viewed, sites: [shop]}
if: visitor.identified
requires: [consent]
limits:
  once_per: 1d
  per_site: 100/h
holdout: {percent: 10, salt: autumn}
steps:
  - action: botstar.widget.open
    timeout: 20s
  - action: botstar.widget.update
    params: {email: "${ visitor.email }"}
  - wait_for:
      event: widget.closed
      timeout: 5m
      steps:
        - after: 1h
        - emit: {event: Closed, properties: {why: "${ event.cause }"}}
  - action: botstar.widget.close
    expires: 1m
`
	for name, meaning := range map[string][2]string{
		"an unknown site":     {"sites: [shop]", "sites: [shpo]"},
		"a type":              {"if: visitor.identified", "if: visitor.email"},
		"a name":              {"${ visitor.email }", "${ visitor.mail }"},
		"an unknown event":    {"event: widget.closed", "event: widget.closde"},
		"a field of the fact": {"${ event.cause }", "${ event.why }"},
		"a rate":              {"per_site: 100/h", "per_site: many"},
		"an unknown action":   {"botstar.widget.close\n", "botstar.widget.shut\n"},
	} {
		wrong := strings.Replace(good, meaning[0], meaning[1], 1)
		told, _ := said(t, b.compiler, wrong)
		if len(told) != 1 || strings.HasPrefix(told[0], "0 ") {
			t.Fatalf("%s alone: %v", name, told)
		}
		hidden, pairs := 0, 0
		for _, other := range append(misspelt(wrong), unkeyed(wrong)...) {
			all, form := said(t, b.compiler, other)
			if len(form) == 0 || !strings.Contains(other, meaning[1]) {
				continue
			}
			pairs++
			if !slices.Contains(all, told[0]) {
				hidden++
			}
			if len(all) > len(form)+1 {
				t.Errorf("%s beside a mistake of form: %v\n%s", name, all, other)
			}
		}
		t.Logf("%s: %d of %d mistakes of form elsewhere hide it", name, hidden, pairs)
		// What stands inside a spoilt value, or depends on it, has no meaning yet.
		if pairs < 20 || hidden > pairs/4 {
			t.Errorf("%s: %d of %d mistakes of form elsewhere hide it", name, hidden, pairs)
		}
	}
}
