package app

import (
	"context"
	"maps"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/hubspot"
	"github.com/parley-chat/parley/internal/crm/pipedrive"
	"github.com/parley-chat/parley/internal/crm/salesforce"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/standin"
	hubspotin "github.com/parley-chat/parley/internal/standin/hubspot"
	pipedrivein "github.com/parley-chat/parley/internal/standin/pipedrive"
	salesforcein "github.com/parley-chat/parley/internal/standin/salesforce"
)

// vendorCase is an account with one field of each type, and how a person changes
// its text.
type vendorCase struct {
	handler   http.Handler
	host      string
	connector func(carrier *http.Transport, now func() time.Time) crm.Connector
	// fields are the names of a text, a number, a choice, a time and a day; "" is none.
	fields [5]string
	edit   func(value string)
}

func hubspotCase(now func() time.Time) vendorCase {
	account := hubspotin.New(hubspotin.Options{Now: now})
	for name, kind := range map[string]string{"score": "number", "seen": "datetime", "since": "date"} {
		account.Define("contacts", hubspotin.Property{Name: name, Label: name, Type: kind, FieldType: "text"})
	}
	account.Define("contacts", hubspotin.Property{Name: "parley_key", Label: "k", Type: "string", FieldType: "text", Unique: true})
	account.Define("contacts", hubspotin.Property{Name: "parley_seq", Label: "s", Type: "number", FieldType: "number"})
	return vendorCase{
		account, hubspotin.Host,
		func(carrier *http.Transport, now func() time.Time) crm.Connector {
			return hubspot.New(devTokens{}, hubspot.Options{Activities: hubspot.None, Transport: carrier, Now: now, Rate: 100})
		},
		[5]string{"jobtitle", "score", "", "seen", "since"},
		func(value string) {
			account.Edit("contacts", account.Records("contacts")[0].ID, map[string]string{"jobtitle": value})
		},
	}
}

func salesforceCase(now func() time.Time) vendorCase {
	org := salesforcein.New(salesforcein.Options{Valid: devValid, Now: now})
	prepareOrg(org, nil)
	org.AddFields("Contact", salesforcein.Field{Name: "Score__c", Type: "double"}, salesforcein.Field{Name: "Seen__c", Type: "datetime"},
		salesforcein.Field{Name: "Since__c", Type: "date"}, salesforcein.Field{Name: "Level__c", Type: "picklist", Options: []string{"high", "low"}, Restricted: true})
	return vendorCase{
		org, devOrg,
		func(carrier *http.Transport, now func() time.Time) crm.Connector {
			return salesforce.New(devTokens{}, salesforce.Options{Activities: salesforce.None, Transport: carrier, Now: now, Rate: 100})
		},
		[5]string{"Title", "Score__c", "Level__c", "Seen__c", "Since__c"},
		func(value string) {
			org.Put("Contact", org.Records("Contact")[0].ID(), salesforcein.Record{"Title": value})
		},
	}
}

func pipedriveCase(now func() time.Time) vendorCase {
	account := pipedrivein.New(pipedrivein.Options{Valid: devValid, Now: now})
	account.AddField("Parley key", "varchar")
	account.AddField("Parley sequence", "double")
	title := account.AddField("Title", "varchar")
	account.AddField("Score", "double")
	account.AddField("Level", "enum", "high", "low")
	account.AddField("Since", "date")
	return vendorCase{
		account, devCompany,
		func(carrier *http.Transport, now func() time.Time) crm.Connector {
			return pipedrive.New(devTokens{}, pipedrive.Options{Activities: pipedrive.None, Transport: carrier, Now: now, Rate: 100})
		},
		[5]string{"Title", "Score", "Level", "", "Since"},
		func(value string) {
			p := account.Records("persons")[0]
			custom, _ := p["custom_fields"].(map[string]any)
			next := maps.Clone(custom)
			next[title] = value
			account.Put("persons", p.ID(), pipedrivein.Record{"custom_fields": next})
		},
	}
}

// TestEchoOfVendors: what the engine writes into fields of all types is told by the
// vendor in its own form, and is known as ours; what a person writes becomes one
// update, and when that comes round nothing is written and nothing told again.
func TestEchoOfVendors(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]func(now func() time.Time) vendorCase{"hubspot": hubspotCase, "salesforce": salesforceCase, "pipedrive": pipedriveCase} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ahead atomic.Int64
			now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			echoOf(t, of(now), now, func() { ahead.Add(int64(15 * time.Second)) })
		})
	}
}

// traitsOf are what the visitor has of each type.
func traitsOf(text string) map[string]any {
	return map[string]any{"f0": text, "f1": 36.5, "f2": "high", "f3": "2026-11-25T10:11:12.123456789Z", "f4": "2026-11-24T23:59:00Z"}
}

func echoOf(t *testing.T, v vendorCase, now func() time.Time, push func()) {
	t.Helper()
	server, err := standin.Start(bustest.Log(t), map[string]http.Handler{v.host: v.handler})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	carrier := way{resolve: server.Resolve(), roots: server.Roots()}.transport(nil)
	t.Cleanup(carrier.CloseIdleConnections)
	m := crm.Mapping{Contact: map[string]crm.FieldMapping{}, Back: map[string]string{}}
	for i, field := range v.fields {
		if field != "" {
			m.Contact[field] = crm.FieldMapping{Value: "${traits.f" + strconv.Itoa(i) + "}"}
			m.Back["f"+strconv.Itoa(i)] = `${contact["` + field + `"]}`
		}
	}
	b := bustest.Start(t)
	parts := partsOf(t)
	spec, _, err := parts.Catalog.Find("botstar" + updateVerb)
	if err != nil {
		t.Fatal(err)
	}
	update := func(site string, attributes map[string]any) (crm.Update, error) {
		return updateOf(spec, site, attributes, parts.Schemas)
	}
	target, err := crm.New(bustest.Log(t), b, crm.Options{
		Name: "v", Connector: v.connector(carrier, now), Mapping: m, Since: time.Hour, Window: 20 * time.Millisecond,
		Return: crm.Return{Every: 20 * time.Millisecond, Command: update},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- target.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	who := event.Visitor{UserID: "ada"}
	session := event.SessionKey("shop", who)
	tell := func(kind string, traits map[string]any) {
		t.Helper()
		say(t, b, event.TriggerSubject("test", kind, "shop", session), event.TriggerType(kind), session,
			event.Trigger{Site: "shop", Visitor: who, Event: kind, OccurredAt: time.Now(), Traits: traits})
	}
	bustest.Until(t, "the target listens", func() bool {
		status, err := crm.StatusOf(t.Context(), b, "v")
		return err == nil && status.Position.Cursor != ""
	})
	push()
	tell(event.KindIdentify, traitsOf("Analyst"))
	bustest.Until(t, "the contact is written", func() bool { return target.Figures().Written == 1 && target.Figures().Waiting == 0 })
	push()
	bustest.Until(t, "the vendor tells of what we wrote", func() bool { return target.Figures().Echoes > 0 && target.Figures().Waiting == 0 })
	if n := target.Figures().Updates; n != 0 {
		t.Errorf("%d updates of what we wrote ourselves", n)
	}
	push()
	v.edit("Countess")
	push()
	bustest.Until(t, "there is an update", func() bool { return target.Figures().Updates == 1 && target.Figures().Waiting == 0 })
	before := target.Figures()
	tell(event.KindAttribute, traitsOf("Countess"))
	bustest.Until(t, "the update has come round", func() bool { return target.Figures().Folded > before.Folded && target.Figures().Waiting == 0 })
	tell(event.KindAttribute, traitsOf("Analyst"))
	bustest.Until(t, "the visitor has the last word", func() bool { return target.Figures().Written > before.Written && target.Figures().Waiting == 0 })
	push()
	bustest.Until(t, "the vendor tells of that", func() bool { return target.Figures().Echoes > before.Echoes })
	after := target.Figures()
	if diff := cmp.Diff([]uint64{1, before.Written + 1}, []uint64{after.Updates, after.Written}); diff != "" {
		t.Errorf("updates and writes (-want +got):\n%s\n%+v", diff, after)
	}
}
