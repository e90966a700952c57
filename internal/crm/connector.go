package crm

import (
	"context"
	"net/http"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// A Connector writes to one account of one CRM. It knows the vendor's wire and
// nothing else: it does not retry, does not pace itself and keeps no queue,
// because the engine does that for all of them.
//
// The engine never has two calls under way for the same contact, never names a
// key twice in one call, and never passes more items than Limits allows. It may
// call from several goroutines for different contacts.
//
// A method that returns an error says that nothing is known of single items:
//
//   - retryable (fault.Retryable): all of them later, after the error's After;
//   - fault.EffectUnknown: the call was sent and not answered, or answered with
//     what is no answer. All of them again, with Unsure set;
//   - fault.TokenRefused, ConnectionRevoked, ReauthNeeded, VendorForbids,
//     TokenMissing: nothing can be written until a person acts. The target
//     stops, and no item is lost or counted;
//   - anything else: the engine halves the call until it knows the item that is
//     to blame.
//
// Otherwise it returns one Outcome per item, joined by Key and in any order. An
// item without an outcome counts as unanswered, as after fault.EffectUnknown.
type Connector interface {
	// Name is the vendor's name, such as "hubspot".
	Name() string
	// Limits says what one call may hold. It does not change.
	Limits() Limits
	// Schema returns the fields that exist, for checks and coercion.
	Schema(ctx context.Context) (Schema, error)
	// UpsertContacts creates or changes contacts by Contact.Key. It writes the
	// fields that it is given and leaves all others alone.
	UpsertContacts(ctx context.Context, contacts []Contact) ([]Outcome, error)
	// PutActivities creates or changes activities by Activity.Key: a repetition
	// changes nothing. Their contacts were written before.
	PutActivities(ctx context.Context, activities []Activity) ([]Outcome, error)
	// Read returns those of the contacts that exist, with all fields that the
	// schema names, for rules that need the present value, for a dry run, and
	// after an ambiguous answer.
	Read(ctx context.Context, refs []Ref) ([]Contact, error)
}

// A Forgetter can erase a person. It is optional.
type Forgetter interface {
	// Forget erases the contacts, and their activities where the vendor allows
	// that. One that does not exist is done.
	Forget(ctx context.Context, refs []Ref) ([]Outcome, error)
}

// A ChangeReader tells what others changed in the CRM. It is optional.
type ChangeReader interface {
	// Changes returns contacts with a key of ours that changed behind the cursor,
	// oldest first, and the cursor behind them. The first cursor is "", which means
	// from now on. One that changed is told at least once behind the cursor, with
	// all of the named fields that have a value, as they are now. What only we
	// changed may be told, too: the engine knows it by its values.
	Changes(ctx context.Context, cursor string, fields []string) ([]Change, string, error)
}

// A Mapper says which fields are written when the configuration says nothing.
// It is optional.
type Mapper interface {
	Mapping() Mapping
}

// Budgeted is told by the vendor's headers how many calls are left. It is
// optional. The engine asks after each call.
type Budgeted interface {
	Budget() Budget
}

// Ref names a contact.
type Ref struct {
	// Key is ours: see Contact.
	Key string
	// ID is the vendor's, as an earlier outcome told it, or "".
	ID string
}

// Contact is a person on one site, as it is to be in the CRM.
type Contact struct {
	// Key names the contact for ever: 26 characters of lower-case base32, which
	// hold nothing personal. It belongs in a field of its own that is unique.
	Key string
	// ID is the vendor's id as an earlier outcome told it, or "".
	ID string
	// Former are keys that turned out to be the same person: the connector joins
	// them where the vendor can, and otherwise leaves them.
	Former []string
	// Mapped are the names of all fields that the mapping writes: the others are
	// others'.
	Mapped []string
	// Email is for finding a contact that others made before, or "". It is among
	// the fields only when the mapping says so.
	Email string
	// Seq rises with each state of the contact. What comes with a lower one than
	// what is stored is old, and must not overwrite it where the vendor can say
	// so: the outcome is Done, with Stale.
	Seq uint64
	// At is when the newest thing happened that this state tells.
	At time.Time
	// Fields are sorted by name. Each name is there once.
	Fields []Field
	// Attempt counts from 1.
	Attempt int
	// Unsure says that an earlier attempt was not answered: look before creating,
	// where the vendor has no upsert.
	Unsure bool
	// UpdatedAt is when the CRM last changed the contact. Only Read sets it.
	UpdatedAt time.Time
}

// Field is one field of a contact or activity under the vendor's name.
type Field struct {
	Name string
	// Value is a string, float64, bool, time.Time, []string, or nil to clear the
	// field. It has the type that the schema names.
	Value any
	// Rule is how the value goes together with the present one. When Limits.Rules
	// is false the engine has applied it, and it is Always.
	Rule Rule
}

// Rule says who owns a field.
type Rule string

// The rules.
const (
	Always              Rule = "always"                // Ours: write it.
	IfEmpty             Rule = "if_empty"              // Theirs: fill it when it is empty.
	NeverOverwriteNewer Rule = "never_overwrite_newer" // Shared: write it unless the CRM changed the contact after Contact.At.
	Append              Rule = "append"                // A list in text, one item per line: add what is missing.
)

// Activity is one chat session of a contact, for the contact's timeline.
type Activity struct {
	// Key names the activity for ever: 32 characters of lower-case base32.
	Key string
	// ID is the vendor's id as an earlier outcome told it, or "".
	ID string
	// Contact is the contact it belongs to. Its ID is there when it is known.
	Contact Ref
	// Seq rises with each state, as Contact.Seq does.
	Seq uint64
	// Subject is one line, Text the whole account in plain lines.
	Subject, Text string
	// At is when the chat began, End when it ended, or zero.
	At, End time.Time
	// Fields are what the mapping says beyond that.
	Fields []Field
	// Record is the session itself, for targets that take all of it.
	Record Record
	// Attempt and Unsure are as in Contact.
	Attempt int
	Unsure  bool
}

// Outcome is what became of one item of a call.
type Outcome struct {
	// Key is the item's.
	Key    string
	Status Status
	// ID is the vendor's id of it, as far as it is known. It may differ from what
	// was passed, when records were merged.
	ID string
	// Created says that it is new, Stale that what is stored is newer and stays.
	Created, Stale bool
	// After is how long to wait before a Retry, or 0.
	After time.Duration
	// Err says why, for Retry and Rejected.
	Err *fault.Error
}

// Status is the kind of an outcome.
type Status string

// The statuses.
const (
	Done     Status = "done"     // It is as it should be.
	Retry    Status = "retry"    // Not now.
	Rejected Status = "rejected" // Not like this: a dead letter. VendorNotFound means that the ID is gone: once more without it.
)

// Limits is what one call to a connector may hold, and how often.
type Limits struct {
	// Contacts and Activities are the most items of a call; at least 1.
	Contacts, Activities int
	// Rate is the calls per second, and Burst how many may come at once. 0 is
	// without a limit.
	Rate  float64
	Burst int
	// Parallel is the most calls at once; 0 is 1.
	Parallel int
	// Timeout is of one call; 0 is 30 s.
	Timeout time.Duration
	// Rules says that the connector applies the rules of fields itself.
	Rules bool
}

// Budget is what the vendor's headers said last. Its zero value says nothing.
type Budget struct {
	// Remaining calls are left until Resets, for the policy of that name.
	Remaining int
	Resets    time.Time
	Policy    string
	// Daily is what is left of the day's, in the vendor's unit, and DailyOf how much
	// that is in all; DailyOf is 0 as long as the vendor does not say so.
	Daily, DailyOf int
}

// Change is a contact that changed in the CRM.
type Change struct {
	Ref
	At time.Time
	// Seq is the state of ours that the contact has, or 0 when it does not say so.
	Seq    uint64
	Fields []Field
	// By names who changed it as far as the vendor says so, or "".
	By string
}

// Schema is what fields a CRM has.
type Schema struct {
	Contact, Activity []FieldSchema
	// Open says that fields beyond these may be written too.
	Open bool
}

// FieldSchema describes one field.
type FieldSchema struct {
	Name, Label string
	Type        FieldType
	// Options are the values of an Enum.
	Options []string
	// ReadOnly fields cannot be written.
	ReadOnly bool
	// Max is the longest text in characters, or 0.
	Max int
	// Seconds says that a Time is kept in whole seconds.
	Seconds bool
}

// FieldType is the type of a field.
type FieldType string

// The types. A value of a field has the Go type behind each.
const (
	Text   FieldType = "text"   // string
	Number FieldType = "number" // float64
	Bool   FieldType = "bool"   // bool
	Time   FieldType = "time"   // time.Time
	Date   FieldType = "date"   // time.Time, of which only the day counts
	Enum   FieldType = "enum"   // string, one of Options
	List   FieldType = "list"   // []string
)

// Tokens lends a connector its credential. The vault's are such.
type Tokens interface {
	// Do calls the function with a token. When it returns fault.TokenRefused it is
	// called once more with another token. The context ends when the connection is
	// revoked.
	Do(ctx context.Context, call func(ctx context.Context, t Token) error) error
}

// Token is a credential for the time of one call. It is not kept.
type Token interface {
	// Authorize puts it into the header as a bearer token.
	Authorize(h http.Header)
	// Reveal returns it for headers of another form.
	Reveal() string
	// Account says where the account's API lies and whose it is, such as
	// instance_url of Salesforce and api_domain of Pipedrive; "" when unknown.
	Account(name string) string
}
