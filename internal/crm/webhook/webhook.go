// Package webhook sends contacts and chat sessions to an address as CloudEvents,
// signed after Standard Webhooks.
package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// The types of what is sent.
const (
	ContactType = "chat.parley.crm.contact.v1"
	SessionType = "chat.parley.crm.session.v1"
	ForgetType  = "chat.parley.crm.forget.v1"
)

const (
	// maxAnswer is the most bytes of an answer that are read.
	maxAnswer = 1 << 20
	// maxBatch is the most events of a request.
	maxBatch = 100
	// timeout is the usual time of a request.
	timeout = 5 * time.Second
)

// Options say where events go. URL is needed.
type Options struct {
	URL string
	// Method is POST when it is "", or PUT or PATCH.
	Method string
	// Secrets sign each request, one signature for each, so that they can be changed
	// with both in use. Without any there is no signature.
	Secrets []string
	// Headers are sent along, such as Authorization.
	Headers map[string]string
	// Batch is how many events a request may have. Up to 1 each is a request.
	Batch int
	// Rate is the requests per second; 0 is without a limit.
	Rate    float64
	Timeout time.Duration
	// Source is the CloudEvents source.
	Source string
	// Client carries the requests. It must not follow redirects.
	Client *http.Client
}

// Connector sends to one address.
type Connector struct{ o Options }

// New returns a connector.
func New(o Options) *Connector {
	if o.Method == "" {
		o.Method = http.MethodPost
	}
	if o.Timeout == 0 {
		o.Timeout = timeout
	}
	if o.Source == "" {
		o.Source = "/parley/crm"
	}
	o.Batch = min(max(o.Batch, 1), maxBatch)
	return &Connector{o}
}

// Name is "webhook".
func (*Connector) Name() string { return "webhook" }

// Limits of a request.
func (c *Connector) Limits() crm.Limits {
	return crm.Limits{
		Contacts: c.o.Batch, Activities: c.o.Batch, Rate: c.o.Rate, Burst: max(1, int(c.o.Rate)), Parallel: 4, Timeout: c.o.Timeout,
		Rules: true, // The receiver is told the rule of each field.
	}
}

// Schema is open: the receiver takes any field.
func (*Connector) Schema(context.Context) (crm.Schema, error) { return crm.Schema{Open: true}, nil }

// Mapping returns the fields of a contact when the configuration says nothing.
func (*Connector) Mapping() crm.Mapping {
	return crm.Mapping{Contact: map[string]crm.FieldMapping{
		"site": {Value: "${site}"}, "user_id": {Value: "${visitor.user_id}"}, "email": {Value: "${visitor.email}"},
		"anonymous_id": {Value: "${visitor.anonymous_id}"}, "traits": {Value: "${traits}"}, "company": {Value: "${group}"}, "chats": {Value: "${chats}"},
	}, Activity: map[string]crm.FieldMapping{}}
}

// message is one CloudEvent in structured mode.
type message struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject"`
	Time            time.Time `json:"time,omitzero"`
	DataContentType string    `json:"datacontenttype"`
	Data            any       `json:"data"`

	key string
}

// field is a field with its rule.
type field struct {
	Value any      `json:"value"`
	Rule  crm.Rule `json:"rule,omitempty"`
}

// ContactData is what a contact's event holds.
type ContactData struct {
	Key    string           `json:"key"`
	Former []string         `json:"former,omitempty"`
	Seq    uint64           `json:"seq"`
	Fields map[string]field `json:"fields"`
}

// SessionData is what a session's event holds.
type SessionData struct {
	Contact string           `json:"contact"`
	Subject string           `json:"subject"`
	Text    string           `json:"text"`
	Fields  map[string]field `json:"fields,omitempty"`
	Record  crm.Record       `json:"record"`
}

func named(list []crm.Field) map[string]field {
	out := make(map[string]field, len(list))
	for _, f := range list {
		out[f.Name] = field{f.Value, f.Rule}
	}
	return out
}

func (c *Connector) message(typ, key string, seq uint64, at time.Time, data any) message {
	return message{
		SpecVersion: "1.0", ID: key + "-" + strconv.FormatUint(seq, 10), Source: c.o.Source, Type: typ, Subject: key, Time: at.UTC(),
		DataContentType: "application/json", Data: data, key: key,
	}
}

// UpsertContacts sends contacts: the fields that changed.
func (c *Connector) UpsertContacts(ctx context.Context, contacts []crm.Contact) ([]crm.Outcome, error) {
	all := make([]message, len(contacts))
	for i, contact := range contacts {
		all[i] = c.message(ContactType, contact.Key, contact.Seq, contact.At, ContactData{contact.Key, contact.Former, contact.Seq, named(contact.Fields)})
	}
	return c.send(ctx, all)
}

// PutActivities sends sessions.
func (c *Connector) PutActivities(ctx context.Context, activities []crm.Activity) ([]crm.Outcome, error) {
	all := make([]message, len(activities))
	for i, a := range activities {
		all[i] = c.message(SessionType, a.Key, a.Seq, a.Record.LastAt, SessionData{a.Contact.Key, a.Subject, a.Text, named(a.Fields), a.Record})
	}
	return c.send(ctx, all)
}

// Forget tells the receiver to forget people.
func (c *Connector) Forget(ctx context.Context, refs []crm.Ref) ([]crm.Outcome, error) {
	all := make([]message, len(refs))
	for i, ref := range refs {
		all[i] = c.message(ForgetType, ref.Key, 0, time.Time{}, map[string]string{"key": ref.Key})
	}
	return c.send(ctx, all)
}

// Read returns nothing: there is nobody to ask.
func (*Connector) Read(context.Context, []crm.Ref) ([]crm.Contact, error) { return nil, nil }

// send makes one request.
func (c *Connector) send(ctx context.Context, all []message) ([]crm.Outcome, error) {
	var body any = all
	media := "application/cloudevents-batch+json"
	var id string
	if len(all) == 1 {
		body, media, id = all[0], "application/cloudevents+json", all[0].ID
	} else {
		ids := make([]string, len(all))
		for i, m := range all {
			ids[i] = m.ID
		}
		id = event.DerivedID(ids...)
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, fault.New(fault.SchemaViolation, "writing the event: %s", err)
	}
	r, err := http.NewRequestWithContext(ctx, c.o.Method, c.o.URL, bytes.NewReader(data))
	if err != nil {
		return nil, fault.New(fault.BadConfig, "the address of the webhook is wrong")
	}
	for name, value := range c.o.Headers {
		r.Header.Set(name, value)
	}
	r.Header.Set("Content-Type", media)
	sign(r.Header, id, c.o.Secrets, time.Now(), data)
	answer, err := c.o.Client.Do(r)
	if err != nil {
		return nil, failed(err)
	}
	defer func() { _ = answer.Body.Close() }() // What was read counts.
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if answer.StatusCode < http.StatusOK || answer.StatusCode >= http.StatusMultipleChoices {
		return nil, refused(answer, text)
	}
	if err != nil {
		return nil, fault.New(fault.EffectUnknown, "the answer broke off").Because(err)
	}
	return outcomes(all, text), nil
}

// failed gives an error of the transport its class.
func failed(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	return fault.New(fault.EffectUnknown, "the request was not answered").Because(err)
}

// refused turns an answer that is no success into an error.
func refused(answer *http.Response, text []byte) error {
	said := string(text[:min(len(text), 200)])
	switch status := answer.StatusCode; {
	case status == http.StatusGone:
		return fault.New(fault.VendorForbids, "the receiver answered 410: it wants no more").WithFix("remove the target, or correct its address")
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fault.New(fault.TokenRefused, "the receiver answered %d", status).WithFix("compare the secrets and headers of both sides")
	case status == http.StatusTooManyRequests:
		return fault.New(fault.RateLimited, "the receiver answered 429").WithAfter(retryAfter(answer.Header))
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= http.StatusInternalServerError:
		return fault.New(fault.VendorUnavailable, "the receiver answered %d", status).WithAfter(retryAfter(answer.Header))
	case status >= http.StatusMultipleChoices && status < http.StatusBadRequest:
		return fault.New(fault.BadConfig, "the receiver answered %d, and redirects are not followed", status).WithFix("correct the address")
	default:
		return fault.New(fault.VendorRejects, "the receiver answered %d: %s", status, said)
	}
}

// retryAfter reads the header, up to an hour.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	d := time.Duration(0)
	if seconds, err := strconv.Atoi(text); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = time.Until(at)
	}
	return min(max(d, 0), time.Hour)
}

// outcomes reads what the receiver said of single events. It need not say
// anything.
func outcomes(all []message, text []byte) []crm.Outcome {
	var said struct {
		Results []struct {
			ID     string `json:"id"`
			Status int    `json:"status"`
			Error  string `json:"error"`
		} `json:"results"`
	}
	_ = json.Unmarshal(text, &said) // Most receivers answer something else.
	out := make([]crm.Outcome, len(all))
	for i, m := range all {
		out[i] = crm.Outcome{Key: m.key, Status: crm.Done, ID: m.key}
		for _, r := range said.Results {
			switch {
			case r.ID != m.ID || r.Status < http.StatusBadRequest:
			case r.Status == http.StatusTooManyRequests || r.Status >= http.StatusInternalServerError:
				out[i].Status, out[i].Err = crm.Retry, fault.New(fault.VendorUnavailable, "the receiver answered %d for the event", r.Status)
			default:
				out[i].Status, out[i].Err = crm.Rejected, fault.New(fault.VendorRejects, "the receiver answered %d for the event: %.200s", r.Status, r.Error)
			}
		}
	}
	return out
}
