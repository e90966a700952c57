package salesforce

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// maxSubject and maxText are the lengths of a task's texts, in characters.
const maxSubject, maxText = 255, 32_000

// PutActivities implements crm.Connector.
func (c *Connector) PutActivities(ctx context.Context, list []crm.Activity) ([]crm.Outcome, error) {
	switch c.o.Activities {
	case None:
		var outcomes []crm.Outcome
		for _, a := range list {
			outcomes = append(outcomes, crm.Outcome{Key: a.Key, Status: crm.Done, ID: a.ID})
		}
		return outcomes, nil
	case Event:
		return c.publish(ctx, list)
	case Task:
	}
	list, waiting, err := c.withContacts(ctx, newest(list))
	if err != nil {
		return nil, err
	}
	outcomes, err := c.tasks(ctx, list)
	if err == nil && c.o.Cases {
		outcomes, err = c.cases(ctx, list, outcomes)
	}
	if err != nil {
		return nil, err
	}
	return append(outcomes, waiting...), nil
}

// newest keeps the newest state of each activity.
func newest(list []crm.Activity) []crm.Activity {
	at := map[string]int{}
	var out []crm.Activity
	for _, a := range list {
		i, twice := at[a.Key]
		switch {
		case !twice:
			at[a.Key] = len(out)
			out = append(out, a)
		case a.Seq >= out[i].Seq:
			out[i] = a
		}
	}
	return out
}

// tasks writes tasks by our key.
func (c *Connector) tasks(ctx context.Context, list []crm.Activity) ([]crm.Outcome, error) {
	s, err := c.keyed(ctx, "Task", c.o.ActivityKey)
	if err != nil {
		return nil, err
	}
	var outcomes []crm.Outcome
	rows := make([]row, 0, len(list))
	list = slices.DeleteFunc(slices.Clone(list), func(a crm.Activity) bool {
		fields, err := c.task(s, a)
		if err != nil {
			outcomes = append(outcomes, refused(a.Key, fault.From(err)))
			return true
		}
		rows = append(rows, row{key: a.Key, fields: fields})
		return false
	})
	all, err := c.write(ctx, "Task", c.o.ActivityKey, rows)
	if err != nil {
		g := &group{outcomes: outcomes}
		for _, a := range list {
			g.people = append(g.people, &person{Contact: crm.Contact{Key: a.Key}})
		}
		return g.rest(err)
	}
	for i, w := range all {
		key := list[i].Key
		if w.told == nil {
			outcomes = append(outcomes, crm.Outcome{Key: key, Status: crm.Done, ID: w.id, Created: w.created})
			continue
		}
		err := w.told.ofRecord("Task", c.o.ActivityKey)
		if slices.Contains(w.told.fields(), "WhoId") || err.Reason == fault.VendorNotFound {
			err = fault.New(fault.VendorNotFound, "the contact of the activity is not in Salesforce any more").
				WithFix("nothing to do when the person was deleted there; else replay the contact")
		}
		outcomes = append(outcomes, refused(key, err))
	}
	return outcomes, nil
}

// withContacts finds the ids of the contacts that are not known. An activity
// without a contact waits for it.
func (c *Connector) withContacts(ctx context.Context, list []crm.Activity) ([]crm.Activity, []crm.Outcome, error) {
	var keys []string
	for _, a := range list {
		if a.Contact.ID == "" {
			keys = append(keys, a.Contact.Key)
		}
	}
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	ids := map[string]string{}
	for _, object := range Objects() {
		if object == Lead && c.o.Object == Contact && len(ids) == len(keys) || len(keys) == 0 {
			continue
		}
		if _, err := c.keyed(ctx, string(object), c.o.Key); err != nil {
			if object == c.o.Object {
				return nil, nil, err
			}
			continue
		}
		found, err := c.find(ctx, string(object), "Id,"+c.o.Key, c.o.Key, keys, "")
		if err != nil {
			return nil, nil, err
		}
		for _, r := range found {
			if key := r.text(c.o.Key); ids[key] == "" {
				ids[key] = r.text("Id")
			}
		}
	}
	var ready []crm.Activity
	var waiting []crm.Outcome
	for _, a := range list {
		if a.Contact.ID == "" {
			a.Contact.ID = ids[a.Contact.Key]
		}
		if a.Contact.ID, _ = bare(a.Contact.ID); a.Contact.ID == "" {
			err := fault.New(fault.VendorUnavailable, "the contact of the activity is not in Salesforce yet").WithAfter(afterLocked)
			waiting = append(waiting, crm.Outcome{Key: a.Key, Status: crm.Retry, Err: err, After: err.After})
			continue
		}
		ready = append(ready, a)
	}
	return ready, waiting, nil
}

// task returns the fields of a task.
func (c *Connector) task(s *schema, a crm.Activity) (record, error) {
	fields := record{
		"Subject": cut(a.Subject, maxSubject), "Description": cut(a.Text, maxText), "WhoId": a.Contact.ID,
		"ActivityDate": a.At.UTC().Format(time.DateOnly),
	}
	return fields, s.add(fields, a.Fields, "Task")
}

// add adds the fields of the mapping.
func (s *schema) add(to record, list []crm.Field, object string) error {
	for _, f := range list {
		of, ok := s.byName[f.Name]
		if !ok {
			return fault.New(fault.SchemaViolation, "the Salesforce org has no field %q of %s", f.Name, object).At("/" + f.Name).
				WithFix("make the field in Salesforce, or correct the mapping, and replay")
		}
		to[f.Name] = of.wire(f.Value)
	}
	return nil
}

// cut shortens the text to so many characters.
func cut(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}

// cases makes a case of each request for a human whose activity was written. One
// that is there belongs to the people of the org, and is not written again.
func (c *Connector) cases(ctx context.Context, list []crm.Activity, outcomes []crm.Outcome) ([]crm.Outcome, error) {
	wanted := map[string]crm.Activity{}
	var keys []string
	for _, a := range list {
		written := slices.ContainsFunc(outcomes, func(o crm.Outcome) bool { return o.Key == a.Key && o.Status == crm.Done })
		if a.Record.Handoff != nil && written {
			wanted[a.Key], keys = a, append(keys, a.Key)
		}
	}
	if len(keys) == 0 {
		return outcomes, nil
	}
	if _, err := c.keyed(ctx, "Case", c.o.CaseKey); err != nil {
		return nil, err
	}
	found, err := c.find(ctx, "Case", "Id,"+c.o.CaseKey, c.o.CaseKey, keys, "")
	if err != nil {
		return nil, err
	}
	for _, r := range found {
		delete(wanted, r.text(c.o.CaseKey))
	}
	var rows []row
	for _, key := range keys {
		a, missing := wanted[key]
		if !missing {
			continue
		}
		fields := record{"Subject": cut(a.Subject, maxSubject), "Description": cut(handoff(a), maxText), "Origin": c.o.Origin}
		if strings.HasPrefix(a.Contact.ID, Contact.prefix()) {
			fields["ContactId"] = a.Contact.ID
		}
		rows = append(rows, row{key: key, fields: fields})
	}
	all, err := c.write(ctx, "Case", c.o.CaseKey, rows)
	for i, r := range rows {
		at := slices.IndexFunc(outcomes, func(o crm.Outcome) bool { return o.Key == r.key })
		switch {
		case err != nil && !fault.Retryable(err) && !isReason(err, fault.EffectUnknown):
			return nil, err
		case err != nil:
			// The activity counts as written only with its case.
			e := fault.From(err)
			outcomes[at] = crm.Outcome{Key: r.key, Status: crm.Retry, ID: outcomes[at].ID, Err: e, After: e.After}
		case all[i].told != nil:
			outcomes[at] = refused(r.key, all[i].told.ofRecord("Case", c.o.CaseKey))
		}
	}
	return outcomes, nil
}

func handoff(a crm.Activity) string {
	text := a.Text
	if reason := a.Record.Handoff.Reason; reason != "" {
		text = "A human was asked for: " + reason + "\n" + text
	}
	return text
}

// publish publishes a platform event for each session that has ended. Salesforce
// does not know a repetition, so an event tells its key and sequence.
func (c *Connector) publish(ctx context.Context, list []crm.Activity) ([]crm.Outcome, error) {
	s, err := c.fieldsOf(ctx, c.o.EventType, schemaAge)
	if err != nil {
		return nil, err
	}
	var outcomes []crm.Outcome
	for _, a := range newest(list) {
		if !a.Record.Ended || a.ID != "" {
			outcomes = append(outcomes, crm.Outcome{Key: a.Key, Status: crm.Done, ID: a.ID})
			continue
		}
		fields := record{}
		for name, value := range map[string]any{
			"Key__c": a.Key, "Contact_Key__c": a.Contact.Key, "Seq__c": a.Seq, "Site__c": a.Record.Site,
			"Subject__c": a.Subject, "Text__c": a.Text, "At__c": a.At,
		} {
			of, there := s.byName[name]
			if text, isText := value.(string); isText && of.Length > 0 {
				value = cut(text, of.Length)
			}
			if there {
				fields[name] = of.wire(value)
			}
		}
		if err := s.add(fields, a.Fields, c.o.EventType); err != nil {
			outcomes = append(outcomes, refused(a.Key, fault.From(err)))
			continue
		}
		var got struct {
			ID      string   `json:"id"`
			Success bool     `json:"success"`
			Errors  problems `json:"errors"`
		}
		err := c.do(ctx, call{method: http.MethodPost, path: "/sobjects/" + c.o.EventType, name: "the event " + c.o.EventType, in: fields, out: &got})
		switch {
		case err != nil && len(outcomes) > 0:
			return outcomes, nil // The others count as unanswered.
		case err != nil:
			return nil, err
		case !got.Success:
			outcomes = append(outcomes, refused(a.Key, got.Errors.ofRecord(c.o.EventType, "")))
		default:
			outcomes = append(outcomes, crm.Outcome{Key: a.Key, Status: crm.Done, ID: a.Key, Created: true})
		}
	}
	return outcomes, nil
}
