package app

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
)

// actionsCmd lists the catalogue.
type actionsCmd struct {
	Name    string `arg:"" optional:"" help:"Describe this action: a name or an alias."`
	Aliases bool   `help:"List every other name of the actions."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

// actionInfo is what is told of an action.
type actionInfo struct {
	Name         string          `json:"name"`
	Title        string          `json:"title"`
	Description  string          `json:"description"`
	Scope        string          `json:"scope"`
	Plane        string          `json:"plane"`
	Aliases      []aliasInfo     `json:"aliases"`
	Needs        []actions.Fact  `json:"needs"`
	Makes        []actions.Fact  `json:"makes"`
	Idempotent   bool            `json:"idempotent"`
	Budget       string          `json:"budget,omitempty"`
	Timeout      timeoutInfo     `json:"timeout"`
	Verification string          `json:"verification"`
	Reasons      []string        `json:"reasons"`
	Command      json.RawMessage `json:"command_schema"`
	Result       json.RawMessage `json:"result_schema"`
}

type aliasInfo struct {
	Name         string `json:"name"`
	Kind         string `json:"kind"`
	SnippetField string `json:"snippet_field,omitempty"`
}

type timeoutInfo struct {
	Min     string `json:"min"`
	Default string `json:"default"`
	Max     string `json:"max"`
}

// Run lists or describes.
func (a *actionsCmd) Run(c *cli) error {
	specs := c.catalog.Actions()
	if a.Name != "" {
		spec, _, err := c.catalog.Find(a.Name)
		if err != nil {
			return err
		}
		specs = []actions.Spec{spec}
	}
	infos := make([]actionInfo, len(specs))
	for i, spec := range specs {
		infos[i] = c.info(spec)
	}
	switch {
	case a.JSON && a.Name != "":
		return c.print(infos[0])
	case a.JSON:
		return c.print(infos)
	case a.Aliases:
		return listAliases(c.Stdout, infos)
	case a.Name != "":
		return describe(c.Stdout, infos[0])
	}
	return list(c.Stdout, infos)
}

func (c *cli) info(spec actions.Spec) actionInfo {
	info := actionInfo{
		Name: spec.Name, Title: spec.Title, Description: spec.Description, Scope: scopeName(spec.Scope),
		Plane: string(spec.Plane), Needs: spec.Needs, Makes: spec.Makes, Idempotent: spec.Idempotent,
		Timeout:      timeoutInfo{short(spec.Timeout.Min), short(spec.Timeout.Default), short(spec.Timeout.Max)},
		Verification: spec.Verification,
		Command:      c.schemas.Source(event.CommandType(spec.Name)),
		Result:       c.schemas.Source(event.ResultType(spec.Name)),
	}
	if spec.Budget != nil {
		info.Budget = fmt.Sprintf("%d calls in %s per session", spec.Budget.Calls, short(spec.Budget.Window))
	}
	for _, alias := range spec.Aliases {
		info.Aliases = append(info.Aliases, aliasInfo(alias))
	}
	for _, reason := range spec.Reasons {
		info.Reasons = append(info.Reasons, string(reason))
	}
	return info
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

// short prints a duration without its zero parts: 30m, not 30m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func list(w io.Writer, infos []actionInfo) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ACTION\tTITLE\tSCOPE\tNEEDS")
	for _, info := range infos {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", info.Name, info.Title, info.Scope, facts(info.Needs))
	}
	_, _ = fmt.Fprintln(table, "\nDescribe one: publisher actions NAME. Other names: publisher actions --aliases.")
	return table.Flush()
}

func listAliases(w io.Writer, infos []actionInfo) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ALIAS\tKIND\tACTION\tALSO RETURNS")
	for _, info := range infos {
		for _, alias := range info.Aliases {
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", alias.Name, alias.Kind, info.Name, orNone(alias.SnippetField))
		}
	}
	return table.Flush()
}

func describe(w io.Writer, info actionInfo) error {
	_, _ = fmt.Fprintf(w, "%s: %s\n\n%s\n\n", info.Name, info.Title, info.Description)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) { _, _ = fmt.Fprintf(table, "%s\t%s\n", name, orNone(value)) }
	var aliases []string
	for _, alias := range info.Aliases {
		aliases = append(aliases, alias.Name)
	}
	row("also called", strings.Join(aliases, ", "))
	row("scope", info.Scope)
	row("needs", facts(info.Needs))
	row("makes", facts(info.Makes))
	row("timeout", fmt.Sprintf("%s (%s to %s)", info.Timeout.Default, info.Timeout.Min, info.Timeout.Max))
	row("budget", info.Budget)
	row("failures", strings.Join(info.Reasons, ", "))
	if err := table.Flush(); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(w, "\nHow it is proved: %s\n\nParameters:\n", info.Verification)
	return parameters(w, info.Command)
}

// parameters prints the parameters of a command's schema.
func parameters(w io.Writer, command json.RawMessage) error {
	var schema struct {
		Properties struct {
			Params struct {
				Properties map[string]struct {
					Type        any
					Description string
				}
				Required             []string
				AdditionalProperties any
			}
		}
	}
	if err := json.Unmarshal(command, &schema); err != nil {
		return fmt.Errorf("reading the schema: %w", err)
	}
	params := schema.Properties.Params
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	names := make([]string, 0, len(params.Properties))
	for name := range params.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		p, mark := params.Properties[name], ""
		if slices.Contains(params.Required, name) {
			mark = " (required)"
		}
		_, _ = fmt.Fprintf(table, "  %s\t%v%s\t%s\n", name, orAny(p.Type), mark, p.Description)
	}
	if open, closed := params.AdditionalProperties.(bool); params.AdditionalProperties != nil && (!closed || open) {
		_, _ = fmt.Fprintln(table, "  …\tany\tAny other name is a custom attribute.")
	} else if len(names) == 0 {
		_, _ = fmt.Fprintln(table, "  none")
	}
	return table.Flush()
}

func facts(all []actions.Fact) string {
	texts := make([]string, len(all))
	for i, fact := range all {
		texts[i] = string(fact)
	}
	return orNone(strings.Join(texts, ", "))
}

func orNone(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func orAny(kind any) any {
	if kind == nil {
		return "any"
	}
	return kind
}
