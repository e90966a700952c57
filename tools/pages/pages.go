// Package pages makes the documentation pages that follow from the code: the
// actions from the catalogue and its schemas, the errors from the reasons.
package pages

import (
	"bytes"
	_ "embed" // for the pages' forms
	"fmt"
	"strings"
	"text/template"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/tools/contract"
)

//go:embed actions.tmpl
var actionsForm string

//go:embed errors.tmpl
var errorsForm string

// Files returns the text of every page, by its path below docs/. root is the
// folder of the repository.
func Files(catalog *actions.Catalog, root string) (map[string][]byte, error) {
	schemas, err := contract.Files(catalog, root)
	if err != nil {
		return nil, err
	}
	list, err := describe(catalog, schemas)
	if err != nil {
		return nil, err
	}
	actionsPage, err := fill("actions.md", actionsForm, list)
	if err != nil {
		return nil, err
	}
	errorsPage, err := fill("errors.md", errorsForm, classify(catalog))
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"actions.md": actionsPage, "errors.md": errorsPage}, nil
}

func fill(name, form string, data any) ([]byte, error) {
	functions := template.FuncMap{"code": code, "anchor": anchor, "cell": cell}
	page, err := template.New(name).Funcs(functions).Parse(form)
	if err != nil {
		return nil, fmt.Errorf("reading the form of %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := page.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("filling the form of %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// code prints names as code, with commas between.
func code(names []string) string {
	var quoted []string
	for _, name := range names {
		quoted = append(quoted, "`"+name+"`")
	}
	return strings.Join(quoted, ", ")
}

// anchor is the part of a link that leads to the heading.
func anchor(heading string) string {
	return strings.ToLower(strings.NewReplacer(".", "", "`", "", " ", "-").Replace(heading))
}

// cell makes text fit a cell of a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "|", `\|`), "\n", " ")
}

// An action is what the page tells of one action.
type action struct {
	actions.Spec
	ScopeName     string
	NeedNames     []string
	MakeNames     []string
	ReasonNames   []string
	Titles        []string // the other names that people use
	Slugs         []slug   // the names that tool hubs use
	Takes         string
	BudgetText    string
	Command       string // the path of the command's schema
	Result        string
	Input, Output []field
}

// A slug is a hub's name of an action, and the field of its snippet.
type slug struct{ Name, Field string }

// describe collects what the page of the actions tells.
func describe(catalog *actions.Catalog, schemas map[string][]byte) ([]action, error) {
	var list []action
	for _, spec := range catalog.Actions() {
		a := action{Spec: spec, ScopeName: scopeName(spec.Scope), Takes: takes(spec.Timeout), BudgetText: budget(spec.Budget)}
		for _, fact := range spec.Needs {
			a.NeedNames = append(a.NeedNames, string(fact))
		}
		for _, fact := range spec.Makes {
			a.MakeNames = append(a.MakeNames, string(fact))
		}
		for _, reason := range spec.Reasons {
			a.ReasonNames = append(a.ReasonNames, string(reason))
		}
		for _, alias := range spec.Aliases {
			if alias.Kind == "slug" {
				a.Slugs = append(a.Slugs, slug{alias.Name, alias.SnippetField})
			} else {
				a.Titles = append(a.Titles, alias.Name)
			}
		}
		a.Command, _ = event.SchemaPath(event.CommandType(spec.Name))
		a.Result, _ = event.SchemaPath(event.ResultType(spec.Name))
		var err error
		if a.Input, err = fieldsOf(schemas[a.Command], "params"); err != nil {
			return nil, fmt.Errorf("reading the input of %s: %w", spec.Name, err)
		}
		if a.Output, err = fieldsOf(schemas[a.Result], "output"); err != nil {
			return nil, fmt.Errorf("reading the output of %s: %w", spec.Name, err)
		}
		list = append(list, a)
	}
	return list, nil
}

func scopeName(class event.Class) string {
	switch class {
	case event.ClassRead:
		return "read"
	case event.ClassWrite:
		return "write"
	case event.ClassAdmin:
		return "admin"
	}
	return string(class)
}

func takes(b actions.Bounds) string {
	return fmt.Sprintf("%s when `timeout_ms` is left out; from %s to %s", span(b.Default), span(b.Min), span(b.Max))
}

func budget(b *actions.Budget) string {
	if b == nil {
		return ""
	}
	return fmt.Sprintf("%d calls in %s for each session", b.Calls, span(b.Window))
}

// span prints a time without the zeros of its smaller units.
func span(d time.Duration) string {
	switch {
	case d%time.Minute == 0 && d > time.Minute:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	case d%time.Second == 0:
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// A class is one class of failures on the page of the errors.
type class struct {
	Code      fault.Code
	HTTP      int
	Exit      int
	Retryable bool
	Reasons   []reason
}

// A reason is one reason, with the actions that name it.
type reason struct {
	fault.Entry
	Actions []string
}

// classify groups the reasons by their class, both in the order of the table.
func classify(catalog *actions.Catalog) []*class {
	var classes []*class
	byCode := map[fault.Code]*class{}
	for _, entry := range fault.Reasons() {
		group := byCode[entry.Code]
		if group == nil {
			err := fault.New(entry.Reason, "")
			group = &class{
				Code: entry.Code, HTTP: fault.HTTPStatus(entry.Code),
				Exit: fault.ExitCode(entry.Code), Retryable: fault.Retryable(err),
			}
			byCode[entry.Code] = group
			classes = append(classes, group)
		}
		r := reason{Entry: entry}
		for _, spec := range catalog.Actions() {
			for _, name := range spec.Reasons {
				if name == entry.Reason {
					r.Actions = append(r.Actions, spec.Name)
				}
			}
		}
		group.Reasons = append(group.Reasons, r)
	}
	return classes
}
