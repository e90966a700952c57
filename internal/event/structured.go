package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/parley-chat/parley/internal/fault"
)

// EncodeStructured returns the envelope in structured mode: the body is the
// JSON event format, and the Content-Type says so. Data that is not JSON
// travels as base64. Encode is cheaper; this one is for readers that want one
// document.
func EncodeStructured(e Envelope) (header map[string][]string, body []byte) {
	out := make([]byte, 0, 512+2*len(e.Data))
	out = append(out, `{"specversion":"`+specVersion+`"`...)
	put := func(name, value string) {
		out = append(append(append(out, `,"`...), name...), `":`...)
		out = appendString(out, value)
	}
	put("id", e.ID)
	put("source", e.Source)
	put("type", e.Type)
	if e.Subject != "" {
		put("subject", e.Subject)
	}
	if !e.Time.IsZero() {
		put("time", formatTime(e.Time))
	}
	if e.DataSchema != "" {
		put("dataschema", e.DataSchema)
	}
	put("datacontenttype", contentType(e))
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
		put(name, e.Extensions[name])
	}
	switch {
	case len(e.Data) == 0:
	case isJSON(e.DataContentType) && jsontext.Value(e.Data).IsValid():
		out = append(append(out, `,"data":`...), e.Data...)
	default:
		out = append(out, `,"data_base64":"`...)
		out = append(base64.StdEncoding.AppendEncode(out, e.Data), '"')
	}
	header = map[string][]string{headerContentType: {mediaEventJSON}}
	if trace := e.Extensions[ExtTraceParent]; trace != "" {
		header[headerTrace] = []string{escape(trace)}
	}
	return header, append(out, '}')
}

// appendString appends the text as a JSON string.
func appendString(out []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			quoted, err := json.Marshal(text)
			if err != nil { // a string always has a JSON form
				return append(out, `""`...)
			}
			return append(out, quoted...)
		}
	}
	return append(append(append(out, '"'), text...), '"')
}

// decodeStructured reads the JSON event format.
func decodeStructured(media string, body []byte) (Envelope, error) {
	if err := checkEventMedia(media); err != nil {
		return Envelope{}, err
	}
	members, err := members(body)
	if err != nil {
		return Envelope{}, err
	}
	var (
		r       reader
		e       Envelope
		data    = members["data"]
		encoded = members["data_base64"]
	)
	delete(members, "data")
	delete(members, "data_base64")
	for name, raw := range members {
		value, ok, err := attribute(name, raw)
		if err != nil {
			return Envelope{}, err
		}
		if !ok {
			continue
		}
		if err := r.set(&e, name, value, len(members)); err != nil {
			return Envelope{}, err
		}
	}
	if !r.specVersion {
		return Envelope{}, missing("specversion")
	}
	if e.Data, err = payload(data, encoded, isJSON(e.DataContentType)); err != nil {
		return Envelope{}, err
	}
	if err := check(e); err != nil {
		return Envelope{}, err
	}
	return e, nil
}

// checkEventMedia refuses a batch, another format than JSON, and another
// charset than UTF-8.
func checkEventMedia(media string) error {
	kind, params, _ := strings.Cut(strings.ToLower(media), ";")
	kind = strings.TrimSpace(kind)
	params = strings.ReplaceAll(strings.ReplaceAll(params, " ", ""), `"`, "")
	switch {
	case strings.HasPrefix(kind, mediaEventBatch):
		return fault.New(fault.Malformed, "a batch of CloudEvents cannot travel on NATS").
			WithFix("send one message for each event")
	case kind != mediaEventJSON && kind != mediaEvent:
		return fault.New(fault.Malformed, "the event format %q is not known", kind).
			WithFix("use binary mode, or %s", mediaEventJSON)
	case strings.Contains(params, "charset=") && !strings.Contains(params, "charset=utf-8"):
		return fault.New(fault.Malformed, "the event is not in UTF-8, says %q", media).
			WithFix("encode the event in UTF-8")
	}
	return nil
}

// members splits the event into its members, which share the body. A member
// that is there twice is refused.
func members(body []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(body) {
		return nil, notUTF8()
	}
	p := newParser(body)
	members, err := p.members()
	if err != nil {
		return nil, p.syntax(err)
	}
	return members, p.end()
}

// members reads the object without looking into its members.
func (p *parser) members() (map[string]json.RawMessage, error) {
	token, err := p.ReadToken()
	if err != nil {
		return nil, err
	}
	if token.Kind() != '{' {
		return nil, fault.New(fault.Malformed, "the structured event is not a JSON object")
	}
	members := map[string]json.RawMessage{}
	for p.PeekKind() != '}' {
		token, err := p.ReadToken()
		if err != nil {
			return nil, err
		}
		name, from := token.String(), p.InputOffset()
		if _, twice := members[name]; twice {
			return nil, fault.New(fault.Malformed, "the structured event has the member %.60q twice", name).
				WithFix("send the member once")
		}
		if err := p.SkipValue(); err != nil {
			return nil, err
		}
		members[name] = p.text(from)
	}
	_, err = p.ReadToken()
	return members, err
}

// attribute returns the canonical text of an attribute. It is not ok when the
// attribute is null, which means absent.
func attribute(name string, raw json.RawMessage) (value string, ok bool, err error) {
	if err := checkName(name); err != nil {
		return "", false, err
	}
	text := string(bytes.TrimSpace(raw))
	switch {
	case text == "null":
		return "", false, nil
	case text == "true", text == "false":
		return text, true, nil
	case text[0] == '"':
		if err := json.Unmarshal(raw, &value); err != nil {
			return "", false, fault.New(fault.Malformed, "the CloudEvents attribute %s is not a string: %s", name, err)
		}
		return value, true, checkText(name, value)
	}
	if _, err := strconv.ParseInt(text, 10, 32); err != nil {
		return "", false, fault.New(fault.Malformed, "the CloudEvents attribute %s is neither a string nor a 32-bit integer nor a boolean", name)
	}
	return text, true, nil
}

// payload returns the data as it would travel in binary mode.
func payload(data, encoded json.RawMessage, isJSON bool) (json.RawMessage, error) {
	switch {
	case data != nil && encoded != nil:
		return nil, fault.New(fault.Malformed, "the structured event has both data and data_base64")
	case encoded != nil:
		var raw []byte
		if err := json.Unmarshal(encoded, &raw); err != nil {
			return nil, fault.New(fault.Malformed, "reading data_base64: %s", err)
		}
		return raw, nil
	case !isJSON && len(data) > 0 && data[0] == '"':
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return nil, fault.New(fault.Malformed, "reading the data: %s", err)
		}
		return json.RawMessage(text), nil
	}
	return data, nil
}
