package app

import (
	"encoding/json"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// updateVerb is the portable verb that changes a visitor's attributes.
const updateVerb = ".widget.update"

// BackConfig says what comes back from a CRM.
type BackConfig struct {
	Every      time.Duration     `yaml:"every"      doc:"the pause between two looks into the CRM; 0s means 1s for databases, 30s for hubspot, 1m for salesforce and 5m for pipedrive" default:"0s" min:"0s" max:"24h"`
	Attributes map[string]string `yaml:"attributes" doc:"the visitor's attributes, by name: texts with expressions in CEL over contact, which has the CRM's fields by their names, and site"`
}

// every returns the pause between two looks into the CRM.
func (c TargetConfig) every() time.Duration {
	usual := map[string]time.Duration{"sqlite": time.Second, "postgres": time.Second, "hubspot": 30 * time.Second, "pipedrive": 5 * time.Minute}
	if c.Back.Every > 0 {
		return c.Back.Every
	}
	return usual[c.Type]
}

// updates returns what makes the command of an update: that of the site's own
// vendor, held against the schema of the action.
func (s *System) updates(parts Parts) func(site string, attributes map[string]any) (crm.Update, error) {
	return func(site string, attributes map[string]any) (crm.Update, error) {
		of, ok := s.cfg.Sites[site]
		if !ok {
			return crm.Update{}, fault.New(fault.UnknownSite, "there is no site %q any more", site)
		}
		spec, _, err := parts.Catalog.Find(of.Provider + updateVerb)
		if err != nil {
			return crm.Update{}, fault.New(fault.UnsupportedProvider, "%s cannot change a visitor's attributes", of.Provider).Because(err)
		}
		return updateOf(spec, site, attributes, parts.Schemas)
	}
}

// updateOf returns the action's command for the attributes, if they fit it.
func updateOf(spec actions.Spec, site string, attributes map[string]any, schemas *event.Schemas) (crm.Update, error) {
	params, err := json.Marshal(attributes)
	if err != nil {
		return crm.Update{}, fault.New(fault.SchemaViolation, "the attributes cannot be written").Because(err)
	}
	data, err := json.Marshal(event.Command{Site: site, Visitor: event.Visitor{UserID: "u"}, Params: params})
	if err == nil && schemas != nil {
		err = schemas.Validate(event.CommandType(spec.Name), data)
	}
	if err != nil {
		return crm.Update{}, fault.New(fault.SchemaViolation, "%s does not take what comes back", spec.Name).At(fault.From(err).Field).Because(err).
			WithFix("correct `back` of the target, or the field in the CRM, and replay")
	}
	return crm.Update{Class: spec.Scope, Action: spec.Name, Params: params}, nil
}
