package app

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/hubspot"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/vault"
)

// CRMConfig says where chat sessions are brought.
type CRMConfig struct {
	Targets map[string]TargetConfig `yaml:"targets" doc:"the CRMs, by name; the name is lower-case letters, digits and -"`
}

// TargetConfig is one CRM.
type TargetConfig struct {
	Type       string                 `yaml:"type"       doc:"the kind of CRM; required" oneof:"@targets"`
	Path       string                 `yaml:"path"       doc:"of sqlite: the file of the database, relative to parley.yaml; it is made when it is missing"`
	Address    Secret                 `yaml:"address"    doc:"of postgres: the file with the URL of the database, as file:/path or env:NAME of a variable with the path"`
	URL        string                 `yaml:"url"        doc:"of webhook: where events are sent; of others: another address of the API"`
	Secrets    []Secret               `yaml:"secrets"    doc:"of webhook: what signs the requests; two while they are being changed"`
	Private    bool                   `yaml:"private"    doc:"of webhook: let it reach private addresses and this machine"`
	Batch      int                    `yaml:"batch"      doc:"of webhook: the most events of a request; 0 and 1 are one each"`
	Connection string                 `yaml:"connection" doc:"of hubspot, salesforce and pipedrive: the name of the connection, as publisher connections list shows it; empty means the default one of the kind"`
	Sites      []string               `yaml:"sites"      doc:"only visitors of these sites; empty means all"`
	Visitors   string                 `yaml:"visitors"   doc:"known: only visitors with a user id or an e-mail address; all: anonymous ones too" default:"known" oneof:"known,all"`
	Consent    []string               `yaml:"consent"    doc:"only visitors who agreed to these: analytics, advertising, functionality, personalization"`
	Window     time.Duration          `yaml:"window"     doc:"how long changes of a visitor are collected; 0s means 20ms for databases and 2s for others" default:"0s" min:"0s" max:"1h"`
	Since      time.Duration          `yaml:"since"      doc:"how old what happened may be when the target begins" default:"1h" min:"0s" max:"720h"`
	Parallel   int                    `yaml:"parallel"   doc:"the most calls at once, below what the kind allows; 0 means that" default:"0" min:"0" max:"64"`
	Subject    string                 `yaml:"subject"    doc:"the line that a chat session has in the CRM; a text with expressions"`
	Settings   map[string]string      `yaml:"settings"   doc:"what only this kind of CRM has; see crm.md"`
	Contact    map[string]FieldConfig `yaml:"contact"    doc:"what a contact's fields get, by the CRM's names; empty means the usual ones"`
	Activity   map[string]FieldConfig `yaml:"activity"   doc:"what the fields of a chat session get, likewise"`
	Back       BackConfig             `yaml:"back"       doc:"what others change in the CRM and the visitor is told; see crm.md"`
}

// FieldConfig is what a field gets. In YAML it may be the value alone.
type FieldConfig struct {
	Value string `yaml:"value" doc:"a text with expressions in CEL between dollar-braces, over visitor, traits, record, site, session, group, chats, first_seen_at, last_seen_at"`
	Rule  string `yaml:"rule"  doc:"always, if_empty, never_overwrite_newer or append" default:"always"`
}

// UnmarshalYAML reads the field or its value alone.
func (f *FieldConfig) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if unmarshal(&text) == nil {
		f.Value = text
		return nil
	}
	type plain FieldConfig
	return unmarshal((*plain)(f))
}

// fillTarget sets the defaults of a target.
func fillTarget(c *TargetConfig) {
	_ = eachKey(reflect.ValueOf(c).Elem(), "", func(k key) error {
		if !k.value.IsZero() {
			return nil
		}
		return k.set(k.field.Tag.Get("default"))
	})
}

// mapping returns the mapping of the target.
func (c TargetConfig) mapping() crm.Mapping {
	fields := func(of map[string]FieldConfig) map[string]crm.FieldMapping {
		if len(of) == 0 {
			return nil
		}
		out := map[string]crm.FieldMapping{}
		for name, f := range of {
			out[name] = crm.FieldMapping{Value: f.Value, Rule: crm.Rule(f.Rule)}
		}
		return out
	}
	return crm.Mapping{Contact: fields(c.Contact), Activity: fields(c.Activity), Subject: c.Subject, Back: c.Back.Attributes}
}

// targetTypes are the kinds of CRMs.
func targetTypes() []string {
	return []string{"hubspot", "pipedrive", "postgres", "salesforce", "sqlite", "webhook"}
}

// window returns how long changes are collected.
func (c TargetConfig) window() time.Duration {
	switch {
	case c.Window > 0:
		return c.Window
	case c.Type == "sqlite" || c.Type == "postgres":
		return 20 * time.Millisecond
	}
	return 2 * time.Second
}

// crm checks the targets.
func (v *validator) crm(c *Config) {
	for _, name := range slices.Sorted(maps.Keys(c.CRM.Targets)) {
		t, path := c.CRM.Targets[name], "crm.targets."+name
		if !event.IsToken(name) {
			v.report(path, "use lower-case letters, digits and -", "%q cannot name a target", name)
		}
		v.keys(reflect.ValueOf(t), path)
		v.target(path, t)
		for i, site := range t.Sites {
			v.choice(fmt.Sprintf("%s.sites[%d]", path, i), site, c.SiteNames())
		}
		for i, purpose := range t.Consent {
			v.choice(fmt.Sprintf("%s.consent[%d]", path, i), purpose, crm.Purposes())
		}
		for _, fields := range []struct {
			name string
			of   map[string]FieldConfig
		}{{"contact", t.Contact}, {"activity", t.Activity}} {
			for _, field := range slices.Sorted(maps.Keys(fields.of)) {
				if rule := fields.of[field].Rule; rule != "" && !slices.Contains(crm.Rules(), crm.Rule(rule)) {
					v.report(path+"."+fields.name+"."+field+".rule", "use always, if_empty, never_overwrite_newer or append", "there is no rule %q", rule)
				}
			}
		}
	}
}

// target checks what belongs to the kind of the target.
func (v *validator) target(path string, t TargetConfig) {
	need := func(key, value string) {
		if value == "" {
			v.report(path, "add "+key+": to it", "a target of type %s needs %s", t.Type, key)
		}
	}
	switch t.Type {
	case "sqlite":
		need("path", t.Path)
	case "postgres":
		need("address", string(t.Address))
		if !t.Address.legal() {
			v.secret(path+".address", "write env:NAME or file:/path of a file with the URL of the database")
		}
	case "webhook":
		need("url", t.URL)
		if u, err := url.Parse(t.URL); t.URL != "" && (err != nil || u.Host == "" || u.Scheme != "https" && !t.Private) {
			v.report(path+".url", "write https://, a host and a path", "it is no address that events may be sent to")
		}
		for i, secret := range t.Secrets {
			if secret == "" || !secret.legal() {
				v.secret(fmt.Sprintf("%s.secrets[%d]", path, i), "write env:NAME or file:/path")
			}
		}
	default:
		if u, err := url.Parse(t.URL); t.URL != "" && (err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !isLoopback(u.Hostname())) {
			v.report(path+".url", "write https:// and a host", "a token does not travel to this address")
		}
		if _, err := hubspot.Settings(t.Settings); t.Type == "hubspot" && err != nil {
			v.report(path+".settings", fault.From(err).Fix, "%s", err)
		}
		if t.Connection == "" {
			return
		}
		if _, err := vault.ParseName(t.Connection); err != nil {
			v.report(path+".connection", "write it as `publisher connections list` does", "it is no name of a connection")
		}
	}
}
