package hubspot

import (
	"context"
	"html"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// PutActivities implements crm.Connector.
func (c *Connector) PutActivities(ctx context.Context, list []crm.Activity) ([]crm.Outcome, error) {
	list = latest(list)
	for i := range list {
		list[i].Contact.ID, _ = bare(list[i].Contact.ID)
	}
	var outcomes []crm.Outcome
	list = slices.DeleteFunc(list, func(a crm.Activity) bool {
		// An event cannot be changed, so it is told when nothing comes any more.
		idle := c.o.Activities == None || c.o.Activities == Event && !a.Record.Ended
		if idle {
			outcomes = append(outcomes, crm.Outcome{Key: a.Key, Status: crm.Done, ID: a.ID})
		}
		return idle
	})
	if len(list) == 0 {
		return outcomes, nil
	}
	list, waiting, err := c.withContacts(ctx, list)
	if err != nil {
		return nil, err
	}
	outcomes = append(outcomes, waiting...)
	put := c.putObjects
	if c.o.Activities == Event {
		put = c.putEvents
	}
	more, err := put(ctx, list)
	return append(outcomes, more...), err
}

// latest keeps the newest state of each activity.
func latest(list []crm.Activity) []crm.Activity {
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

// withContacts finds the ids of the contacts that are not known. An activity
// without a contact waits for it.
func (c *Connector) withContacts(ctx context.Context, list []crm.Activity) ([]crm.Activity, []crm.Outcome, error) {
	var keys []string
	for _, a := range list {
		if a.Contact.ID == "" {
			keys = append(keys, a.Contact.Key)
		}
	}
	found, err := c.read(ctx, c.o.Key, keys, c.o.Key)
	if err != nil {
		return nil, nil, err
	}
	var ready []crm.Activity
	var waiting []crm.Outcome
	for _, a := range list {
		for i := range found {
			if a.Contact.ID == "" && found[i].get(c.o.Key) == a.Contact.Key {
				a.Contact.ID = found[i].ID
			}
		}
		if a.Contact.ID == "" {
			err := fault.New(fault.VendorUnavailable, "the contact of the activity is not in HubSpot yet").WithAfter(afterSecond)
			waiting = append(waiting, crm.Outcome{Key: a.Key, Status: crm.Retry, Err: err, After: err.After})
			continue
		}
		ready = append(ready, a)
	}
	return ready, waiting, nil
}

// putObjects writes notes or communications by our key, and ties the new ones to
// their contacts.
func (c *Connector) putObjects(ctx context.Context, list []crm.Activity) ([]crm.Outcome, error) {
	kind := c.o.Activities.objects()
	s, err := c.keyed(ctx, kind, c.o.ActivityKey, nil)
	if err != nil {
		return nil, err
	}
	var outcomes []crm.Outcome
	var inputs []input
	byKey := map[string]crm.Activity{}
	for _, a := range list {
		properties, err := c.activity(s, a)
		if err != nil {
			outcomes = append(outcomes, refused(a.Key, fault.From(err)))
			continue
		}
		byKey[a.Key] = a
		inputs = append(inputs, input{ID: a.Key, IDProperty: c.o.ActivityKey, Properties: properties, Trace: a.Key})
	}
	all, err := c.write(ctx, kind, "upsert", inputs)
	if err != nil {
		return nil, err
	}
	var loose []crm.Outcome // written, and perhaps not tied
	var pairs []pair
	for key, t := range all {
		switch a := byKey[key]; {
		case t.err != nil:
			outcomes = append(outcomes, refused(key, t.err))
		case a.ID == t.object.ID && !t.object.New:
			outcomes = append(outcomes, crm.Outcome{Key: key, Status: crm.Done, ID: t.object.ID})
		default:
			loose = append(loose, crm.Outcome{Key: key, Status: crm.Done, ID: t.object.ID, Created: t.object.New})
			pairs = append(pairs, pair{From: id{t.object.ID}, To: id{a.Contact.ID}})
		}
	}
	tied, err := c.tie(ctx, kind, pairs)
	for i, o := range loose {
		switch {
		case err != nil:
			// Its id is told only when it is tied, so the next attempt ties it.
			o = refused(o.Key, fault.From(err))
			o.Status = crm.Retry
		case tied[pairs[i].From.ID] != nil:
			o = refused(o.Key, tied[pairs[i].From.ID])
		}
		outcomes = append(outcomes, o)
	}
	if err != nil && !fault.Retryable(err) && !isReason(err, fault.EffectUnknown) {
		return nil, err
	}
	return outcomes, nil
}

func refused(key string, err *fault.Error) crm.Outcome {
	status := crm.Rejected
	if fault.Retryable(err) {
		status = crm.Retry
	}
	return crm.Outcome{Key: key, Status: status, Err: err, After: err.After}
}

// activity returns the properties of a note or a communication.
func (c *Connector) activity(s *schema, a crm.Activity) (map[string]string, error) {
	properties := map[string]string{c.o.ActivityKey: a.Key, "hs_timestamp": strconv.FormatInt(a.At.UnixMilli(), 10)}
	body := rich(a)
	if c.o.Activities == Communication {
		properties["hs_communication_channel_type"] = c.o.Channel
		properties["hs_communication_logged_from"] = "CRM"
		properties["hs_communication_body"] = body
	} else {
		properties["hs_note_body"] = body
	}
	for _, f := range a.Fields {
		text, err := s.wire(f)
		if err != nil {
			return nil, err
		}
		properties[f.Name] = text
	}
	return properties, nil
}

// rich returns the account as HubSpot's rich text: what visitors wrote stays
// text.
func rich(a crm.Activity) string {
	var b strings.Builder
	if a.Subject != "" {
		b.WriteString("<strong>" + html.EscapeString(a.Subject) + "</strong>")
	}
	for line := range strings.Lines(a.Text) {
		part := html.EscapeString(strings.TrimRight(line, "\n"))
		if b.Len() > 0 {
			part = "<br>" + part
		}
		if b.Len()+len(part) > maxText-utf8.UTFMax {
			b.WriteString("…")
			break
		}
		b.WriteString(part)
	}
	return b.String()
}

type id struct {
	ID string `json:"id"`
}

// pair is an activity and its contact.
type pair struct {
	From id `json:"from"`
	To   id `json:"to"`
}

// tie associates the pairs. Doing it again changes nothing. It returns what
// HubSpot said against single activities, by their ids.
func (c *Connector) tie(ctx context.Context, kind string, pairs []pair) (map[string]*fault.Error, error) {
	against := map[string]*fault.Error{}
	if len(pairs) == 0 {
		return against, nil
	}
	name := "associations of " + kind
	var got answer
	var results struct {
		answer
		Results []struct {
			From id `json:"from"`
		} `json:"results"`
	}
	err := c.do(ctx, call{
		method: http.MethodPost, path: "/crm/associations/" + c.o.Version + "/" + kind + "/contacts/batch/associate/default",
		name: name, write: true, in: map[string]any{"inputs": pairs}, out: &results,
	})
	if err != nil {
		return nil, err
	}
	got = results.answer
	tied := map[string]bool{}
	for _, r := range results.Results {
		tied[r.From.ID] = true
	}
	for i := range got.Errors {
		p := &got.Errors[i]
		for _, from := range slices.Concat(p.Context["fromObjectId"], p.Context["ids"]) {
			against[from] = p.ofRecord(name)
		}
	}
	for _, one := range pairs {
		if !tied[one.From.ID] && against[one.From.ID] == nil {
			against[one.From.ID] = fault.New(fault.VendorUnavailable, "HubSpot does not say that the activity belongs to its contact").WithAfter(afterFailure)
		}
	}
	return against, nil
}

// putEvents writes events of our app, whose ids are our keys. One that is there
// already is done.
func (c *Connector) putEvents(ctx context.Context, list []crm.Activity) ([]crm.Outcome, error) {
	var outcomes []crm.Outcome
	for _, a := range list {
		in := map[string]any{
			"eventTypeName": c.o.EventType, "id": a.Key, "objectId": a.Contact.ID, "properties": eventProperties(a),
			"timestamp": a.At.UTC().Format(time.RFC3339Nano),
		}
		err := c.do(ctx, call{
			method: http.MethodPost, path: "/integrators/timeline/" + c.o.Version + "/events", name: "timeline/events", write: true, in: in,
		})
		switch e := fault.From(err); {
		case err == nil:
			outcomes = append(outcomes, crm.Outcome{Key: a.Key, Status: crm.Done, ID: a.Key, Created: true})
		case e.Reason == fault.VendorConflict:
			outcomes = append(outcomes, crm.Outcome{Key: a.Key, Status: crm.Done, ID: a.Key})
		case refusal(e.Reason):
			outcomes = append(outcomes, refused(a.Key, e))
		default:
			return outcomes, err
		}
	}
	return outcomes, nil
}

func eventProperties(a crm.Activity) map[string]string {
	properties := map[string]string{"subject": a.Subject, "text": a.Text}
	if !a.End.IsZero() {
		properties["ended_at"] = a.End.UTC().Format(time.RFC3339)
	}
	for _, f := range a.Fields {
		if text, err := plain(f); err == nil {
			properties[f.Name] = text
		}
	}
	return properties
}

// plain writes a field of which no schema is known.
func plain(f crm.Field) (string, error) {
	s := &schema{byName: map[string]property{f.Name: {Name: f.Name, Type: "string"}}}
	return s.wire(f)
}
