package event

import (
	"bytes"
	"strconv"
	"time"
)

// Raw is the text of a JSON value that [Schemas.Scan] has passed. Of any other
// text its methods say nothing.
type Raw []byte

// Text returns the value of a string, or "".
func (r Raw) Text() string {
	if len(r) < 2 || r[0] != '"' {
		return ""
	}
	inner := r[1 : len(r)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	return unescaped(inner)
}

// unescaped returns the text without its escape sequences, which have two
// characters.
func unescaped(text []byte) string {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\\' {
			i++
			if c = text[i]; bytes.IndexByte([]byte("bfnrt"), c) >= 0 {
				c = map[byte]byte{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}[c]
			}
		}
		out = append(out, c)
	}
	return string(out)
}

// Moment returns the value of a time, or the zero time.
func (r Raw) Moment() time.Time {
	at, err := time.Parse(time.RFC3339Nano, r.Text())
	if err != nil {
		return time.Time{}
	}
	return at
}

// Flag returns the value of a boolean.
func (r Raw) Flag() bool { return len(r) > 0 && r[0] == 't' }

// Any returns the value: a map, a list, a string, a float64, a bool, or nil, as
// encoding/json reads them.
func (r Raw) Any() any {
	if len(r) == 0 {
		return nil
	}
	switch r[0] {
	case '{':
		return r.Map()
	case '[':
		return r.list()
	case '"':
		return r.Text()
	case 't', 'f':
		return r.Flag()
	case 'n':
		return nil
	}
	f, _ := strconv.ParseFloat(string(r), 64) // The scanner has seen that it is a number.
	return f
}

// Map returns the members of an object.
func (r Raw) Map() map[string]any {
	all := map[string]any{}
	r.Members(func(name []byte, value Raw) bool {
		all[string(name)] = value.Any()
		return true
	})
	return all
}

// list returns the items of an array.
func (r Raw) list() []any {
	all := []any{}
	s := scanner{data: r, at: 1}
	for more := !s.next(']'); more; more = s.next(',') {
		all = append(all, s.raw().Any())
	}
	return all
}

// Find returns the member of an object.
func (r Raw) Find(name string) (found Raw, ok bool) {
	r.Members(func(other []byte, value Raw) bool {
		if string(other) == name {
			found, ok = value, true
		}
		return !ok
	})
	return found, ok
}

// Members calls the function with the members of an object, until it returns
// false.
func (r Raw) Members(of func(name []byte, value Raw) bool) {
	if len(r) == 0 || r[0] != '{' {
		return
	}
	s := scanner{data: r, at: 1}
	for more := !s.next('}'); more; more = s.next(',') {
		s.space()
		name, _, _ := s.text()
		if !s.next(':') || !of(name, s.raw()) {
			return
		}
	}
}

// raw moves past a value, and returns its text.
func (s *scanner) raw() Raw {
	s.space()
	from := s.at
	s.pass()
	return Raw(s.data[from:s.at])
}

// pass moves past a value that was scanned before.
func (s *scanner) pass() {
	depth := 0
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case '"':
			s.quoted()
		case '{', '[':
			s.at++
			depth++
		case '}', ']':
			if depth == 0 {
				return // It is behind a number or a word.
			}
			s.at++
			depth--
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return
			}
			s.at++
			continue
		default:
			s.at++
			continue
		}
		if depth == 0 {
			return
		}
	}
}

// quoted moves past a string.
func (s *scanner) quoted() {
	for s.at++; s.at < len(s.data) && s.data[s.at] != '"'; s.at++ {
		if s.data[s.at] == '\\' {
			s.at++
		}
	}
	s.at++
}
