package event

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/parley-chat/parley/internal/fault"
)

// The header names and media types of the NATS binding. Header names are
// written in lower case, and read in any case.
const (
	headerPrefix      = "ce-"
	headerContentType = "content-type"
	headerTrace       = "traceparent"

	mediaJSON       = "application/json"
	mediaEvent      = "application/cloudevents"
	mediaEventJSON  = "application/cloudevents+json"
	mediaEventBatch = "application/cloudevents-batch"

	specVersion = "1.0"
)

// spareHeaders is the room that Encode leaves in its map for the headers of
// the bus: message id and reply inbox. A map for one more than 14 entries takes
// twice the memory, and most events have 12.
const spareHeaders = 2

// Encode returns the envelope in binary mode: every attribute and extension is
// a header ce-<name>, and the body is the data. The trace context is also a
// plain header, for those who know traces and not CloudEvents. The caller owns
// the map; the body is e.Data itself.
//
// Encode does not check the envelope: see [Envelope.Check].
func Encode(e Envelope) (header map[string][]string, body []byte) {
	const required, optional = 5, 3
	trace := e.Extensions[ExtTraceParent]
	most := required + optional + len(e.Extensions)
	if trace != "" {
		most++
	}
	header = make(map[string][]string, most+spareHeaders)
	values := make([]string, 0, most) // one allocation for all the slices of the header
	put := func(name, value string) {
		values = append(values, escape(value))
		header[name] = values[len(values)-1 : len(values) : len(values)]
	}
	put("ce-specversion", specVersion)
	put("ce-id", e.ID)
	put("ce-source", e.Source)
	put("ce-type", e.Type)
	put("ce-datacontenttype", contentType(e))
	if e.Subject != "" {
		put("ce-subject", e.Subject)
	}
	if e.DataSchema != "" {
		put("ce-dataschema", e.DataSchema)
	}
	if !e.Time.IsZero() {
		put("ce-time", formatTime(e.Time))
	}
	for name, value := range e.Extensions {
		put(extensionHeader(name), value)
	}
	if trace != "" {
		put(headerTrace, trace)
	}
	return header, e.Data
}

// extensionHeader returns the header of an extension, without an allocation
// for the ones that Parley uses.
func extensionHeader(name string) string {
	switch name {
	case ExtPartitionKey:
		return headerPrefix + ExtPartitionKey
	case ExtCorrelationID:
		return headerPrefix + ExtCorrelationID
	case ExtCausationID:
		return headerPrefix + ExtCausationID
	case ExtExpiryTime:
		return headerPrefix + ExtExpiryTime
	case ExtTraceParent:
		return headerPrefix + ExtTraceParent
	case ExtRecordedTime:
		return headerPrefix + ExtRecordedTime
	}
	return headerPrefix + name
}

func contentType(e Envelope) string {
	if e.DataContentType == "" {
		return mediaJSON
	}
	return e.DataContentType
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Check says what is wrong with the envelope's attributes, or nil. A producer
// that takes attributes from outside calls it before it publishes; [Decode]
// has done so.
func (e Envelope) Check() error {
	for _, required := range []struct{ name, value string }{
		{"id", e.ID}, {"source", e.Source}, {"type", e.Type},
	} {
		if required.value == "" {
			return missing(required.name)
		}
		if err := checkText(required.name, required.value); err != nil {
			return err
		}
	}
	for _, optional := range []struct{ name, value string }{
		{"subject", e.Subject}, {"dataschema", e.DataSchema}, {"datacontenttype", e.DataContentType},
	} {
		if err := checkText(optional.name, optional.value); err != nil {
			return err
		}
	}
	for name, value := range e.Extensions {
		if err := checkName(name); err != nil {
			return err
		}
		if err := checkText(name, value); err != nil {
			return err
		}
	}
	return nil
}

func missing(name string) *fault.Error {
	return fault.New(fault.Malformed, "the required CloudEvents attribute %s is missing", name).
		WithFix("set the header ce-%s, or the member %s in structured mode", name, name)
}

// checkText refuses what CloudEvents forbids in a string: control characters,
// noncharacters and broken UTF-8.
func checkText(name, value string) error {
	for i := range len(value) {
		if c := value[i]; c < ' ' || c >= 0x7f {
			return checkRunes(name, value)
		}
	}
	return nil
}

func checkRunes(name, value string) error {
	if !utf8.ValidString(value) {
		return fault.New(fault.Malformed, "the CloudEvents attribute %s is not valid UTF-8", name).
			WithFix("encode the attribute in UTF-8")
	}
	for _, r := range value {
		if unicode.IsControl(r) || r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef {
			return fault.New(fault.Malformed, "the CloudEvents attribute %s holds the character %U, which is not allowed", name, r).
				WithFix("remove the character from the attribute")
		}
	}
	return nil
}

// checkName refuses a name that is no CloudEvents attribute name.
func checkName(name string) error {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return badName(name)
		}
	}
	if name == "" || name == "data" {
		return badName(name)
	}
	return nil
}

func badName(name string) *fault.Error {
	return fault.New(fault.Malformed, "%q is not a name of a CloudEvents attribute", name).
		WithFix("use lower-case letters and digits only")
}

const upperHex = "0123456789ABCDEF"

// escape percent-encodes a header value: space, the double quote, the percent
// sign, and every byte outside U+0021 to U+007E.
func escape(value string) string {
	n := 0
	for i := range len(value) {
		if mustEscape(value[i]) {
			n++
		}
	}
	if n == 0 {
		return value
	}
	out := make([]byte, 0, len(value)+2*n)
	for i := range len(value) {
		if c := value[i]; mustEscape(c) {
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
		} else {
			out = append(out, c)
		}
	}
	return string(out)
}

func mustEscape(c byte) bool { return c <= ' ' || c >= 0x7f || c == '"' || c == '%' }

// unescape reads a header value: a value in double quotes loses them and its
// backslashes, then percent sequences become bytes, once. A percent sign that
// begins no sequence stays: the CloudEvents SDK writes values raw.
func unescape(value string) string {
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = unquote(value[1 : len(value)-1])
	}
	at := strings.IndexByte(value, '%')
	if at < 0 {
		return value
	}
	out := append(make([]byte, 0, len(value)), value[:at]...)
	for i := at; i < len(value); i++ {
		if value[i] == '%' && i+2 < len(value) {
			high, low := unhex(value[i+1]), unhex(value[i+2])
			if high < 16 && low < 16 {
				out = append(out, high<<4|low)
				i += 2
				continue
			}
		}
		out = append(out, value[i])
	}
	return string(out)
}

// unquote removes the backslash in front of a character.
func unquote(value string) string {
	if strings.IndexByte(value, '\\') < 0 {
		return value
	}
	out := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' && i+1 < len(value) {
			i++
		}
		out = append(out, value[i])
	}
	return string(out)
}

// unhex returns the value of a hex digit, or 16.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}
