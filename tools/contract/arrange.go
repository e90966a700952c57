package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// order is how the members of a schema are printed: what it is, what may be in
// it, what must be. Members that are not named follow.
var order = strings.Fields(`$schema $id title description type const enum format pattern
	minLength maxLength minimum maximum minItems maxItems minProperties maxProperties
	items properties required propertyNames additionalProperties`)

// arrange returns the schema with its members in that order. names says that
// the members are the names of properties, which keep theirs.
func arrange(schema json.RawMessage, names bool) (json.RawMessage, error) {
	type member struct {
		name  string
		value json.RawMessage
	}
	if !bytes.HasPrefix(schema, []byte("{")) {
		return schema, nil
	}
	var (
		members []member
		broken  error
	)
	decoder := json.NewDecoder(bytes.NewReader(schema))
	_, err := decoder.Token()
	for err == nil && decoder.More() {
		var m member
		token, tokenErr := decoder.Token()
		m.name, _ = token.(string)
		err = errors.Join(tokenErr, decoder.Decode(&m.value))
		m.value, broken = arrange(m.value, !names && m.name == "properties")
		err = errors.Join(err, broken)
		members = append(members, m)
	}
	if err != nil {
		return nil, err
	}
	if !names {
		slices.SortStableFunc(members, func(a, b member) int { return rank(a.name) - rank(b.name) })
	}
	var out bytes.Buffer
	out.WriteByte('{')
	for i, m := range members {
		if i > 0 {
			out.WriteByte(',')
		}
		key, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		out.Write(key)
		out.WriteByte(':')
		out.Write(m.value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

func rank(name string) int {
	if i := slices.Index(order, name); i >= 0 {
		return i
	}
	return len(order)
}
