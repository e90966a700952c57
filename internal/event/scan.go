package event

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"
)

const (
	// scanDepth and scanNames are how deep an object may be, and how many members
	// it may have, for a scanner to look at it.
	scanDepth, scanNames = 32, 64
	// scanDigits is how long a number may be for that.
	scanDigits = 64
)

// Scan reports whether the data of the type is correct for certain, in one pass
// and without making anything of it. If member is not nil, it is called with
// each member of the outermost object, in their order; both slices are of data,
// and what it was told holds only when Scan returns true.
//
// Data that Scan does not accept may be correct all the same: [Schemas.Validate]
// has the last word.
func (s *Schemas) Scan(typ string, data []byte, member func(name []byte, value Raw)) bool {
	found := s.byType[typ]
	if found == nil {
		return false
	}
	ready, err := found.compile()
	if err != nil || ready.plan == nil {
		return false
	}
	scan := scanner{data: data}
	return scan.whole(ready.plan, member)
}

// A scanner goes over JSON text. It accepts nothing that a parser refuses; what
// is rare it leaves to that: escaped names, numbers with exponents, \u.
type scanner struct {
	data  []byte
	at    int
	depth int
}

// whole scans an object and what is around it, and tells its members.
func (s *scanner) whole(p *plan, member func(name []byte, value Raw)) bool {
	if s.space(); s.peek() != '{' || !p.allows(typeObject) || !s.object(p, member) {
		return false
	}
	s.space()
	return s.at == len(s.data)
}

// peek returns the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	if s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}

// space moves past white space.
func (s *scanner) space() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// next moves past white space and the byte, if that is what follows.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

// value scans any value. A nil plan accepts all.
func (s *scanner) value(p *plan) bool {
	switch c := s.peek(); c {
	case '{':
		return p.allows(typeObject) && s.object(p, nil)
	case '[':
		return p.allows(typeArray) && s.array(p)
	case '"':
		text, plain, ok := s.text()
		return ok && (p == nil || plain && p.fits(text))
	case 't':
		return s.word("true") && p.allows(typeBoolean)
	case 'f':
		return s.word("false") && p.allows(typeBoolean)
	case 'n':
		return s.word("null") && p.allows(typeNull)
	default:
		text, ok := s.number()
		return ok && p.fitsNumber(text)
	}
}

// word moves past the word.
func (s *scanner) word(word string) bool {
	if len(s.data)-s.at < len(word) || string(s.data[s.at:s.at+len(word)]) != word {
		return false
	}
	s.at += len(word)
	return true
}

// object scans an object, at whose brace it is.
func (s *scanner) object(p *plan, member func(name []byte, value Raw)) bool {
	if !s.enter() {
		return false
	}
	var room [16][]byte
	names := room[:0]
	for more := !s.next('}'); more; more = s.next(',') {
		name, ok := s.name(names)
		if !ok || !s.member(p, name, member) {
			return false
		}
		names = append(names, name)
	}
	return s.leave('}', len(names)) && p.hasNames(names)
}

// array scans an array, at whose bracket it is.
func (s *scanner) array(p *plan) bool {
	if !s.enter() {
		return false
	}
	n := 0
	for more := !s.next(']'); more; more = s.next(',') {
		if s.space(); !s.value(p.item()) {
			return false
		}
		n++
	}
	return s.leave(']', n) && p.hasItems(n)
}

// enter moves into an object or an array.
func (s *scanner) enter() bool {
	s.at++
	s.depth++
	return s.depth <= scanDepth
}

// leave moves out of an object or an array with so many members: behind an empty
// one it is already.
func (s *scanner) leave(end byte, members int) bool {
	s.depth--
	return members == 0 || s.next(end)
}

// name scans the name of a member, other than those that the object has.
func (s *scanner) name(others [][]byte) ([]byte, bool) {
	if s.space(); s.peek() != '"' || len(others) >= scanNames {
		return nil, false
	}
	name, plain, ok := s.text()
	if !ok || !plain || forbidden(string(name)) {
		return nil, false
	}
	for _, other := range others {
		if bytes.Equal(name, other) {
			return nil, false
		}
	}
	return name, s.next(':')
}

// member scans the value of a member, and tells it.
func (s *scanner) member(p *plan, name []byte, tell func(name []byte, value Raw)) bool {
	of, ok := p.member(name)
	if !ok {
		return false
	}
	s.space()
	from := s.at
	if !s.value(of) {
		return false
	}
	if tell != nil {
		tell(name, s.data[from:s.at])
	}
	return true
}

// text scans a string, at whose first quote it is, and returns what is between
// the quotes; it is plain when that is the text itself.
func (s *scanner) text() (text []byte, plain, ok bool) {
	s.at++
	from, ascii := s.at, true
	plain = true
	for {
		s.easy()
		switch c := s.peek(); {
		case c == '"':
			text = s.data[from:s.at]
			s.at++
			return text, plain, ascii || utf8.Valid(text)
		case c == '\\':
			if plain = false; !s.escape() {
				return nil, false, false
			}
		case c < ' ': // Or the end.
			return nil, false, false
		default:
			ascii = ascii && c < utf8.RuneSelf
		}
		s.at++
	}
}

// easy moves past the characters of a string, eight at a time, that are ASCII and
// neither end it nor escape anything.
func (s *scanner) easy() {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for s.at+8 <= len(s.data) {
		x := binary.LittleEndian.Uint64(s.data[s.at:])
		quotes, slashes := x^(ones*'"'), x^(ones*'\\')
		// The top bit of a byte is set where it is below a space, a quote, a
		// backslash, or no ASCII; the lowest one that is set is right.
		hard := ((x - ones*' ') | (quotes - ones) | (slashes - ones) | x) & tops
		if hard != 0 {
			s.at += bits.TrailingZeros64(hard) / 8
			return
		}
		s.at += 8
	}
}

// escape moves to the second character of an escape sequence of two.
func (s *scanner) escape() bool {
	s.at++
	return bytes.IndexByte([]byte(`"\/bfnrt`), s.peek()) >= 0
}

// number scans a number.
func (s *scanner) number() ([]byte, bool) {
	from := s.at
	if s.peek() == '-' {
		s.at++
	}
	zero := s.peek() == '0'
	whole := s.digits()
	if whole == 0 || zero && whole > 1 {
		return nil, false
	}
	if s.peek() == '.' {
		if s.at++; s.digits() == 0 {
			return nil, false
		}
	}
	text := s.data[from:s.at]
	return text, len(text) <= scanDigits && s.peek()|0x20 != 'e'
}

// digits moves past digits, and returns how many.
func (s *scanner) digits() int {
	from := s.at
	for s.at < len(s.data) && s.data[s.at] >= '0' && s.data[s.at] <= '9' {
		s.at++
	}
	return s.at - from
}

// allows reports whether a value of the type, which is no string, may be there.
func (p *plan) allows(t types) bool {
	return p == nil || p.types&t != 0 && p.enum == nil && p.not == nil && p.format == nil
}

// fits is accepts for a string.
func (p *plan) fits(text []byte) bool {
	if p.types&typeString == 0 || len(text) < p.shortest || !p.fitsLength(text) {
		return false
	}
	if p.enum != nil && !slices.ContainsFunc(p.enum, func(v string) bool { return v == string(text) }) ||
		p.not != nil && slices.Contains(p.not, string(text)) {
		return false
	}
	return p.fitsPattern(text) && (p.format == nil || p.format.Name == "date-time" && isMoment(text) || p.format.Validate(string(text)) == nil)
}

// fitsPattern reports whether the text is of the pattern, if there is one.
func (p *plan) fitsPattern(text []byte) bool {
	return p.pattern == nil || p.pattern.String() == siteForm && isTokenText(text) || p.pattern.MatchString(string(text))
}

// fitsLength reports whether the text has neither too few characters nor too
// many.
func (p *plan) fitsLength(text []byte) bool {
	if len(text) <= p.longest && len(text) >= utf8.UTFMax*p.shortest {
		return true
	}
	n := utf8.RuneCount(text)
	return n >= p.shortest && n <= p.longest
}

// fitsNumber is accepts for a number.
func (p *plan) fitsNumber(text []byte) bool {
	if p == nil {
		return true
	}
	f, err := strconv.ParseFloat(string(text), 64)
	return err == nil && p.enum == nil && p.not == nil && p.acceptsNumber(f)
}

// member returns the plan of the member, if it may be there.
func (p *plan) member(name []byte) (of *plan, ok bool) {
	if p == nil {
		return nil, true
	}
	if p.names != nil && !p.names.fits(name) {
		return nil, false
	}
	if of, ok = p.members[string(name)]; ok {
		return of, true
	}
	return p.rest, !p.closed
}

// item returns the plan of the items of an array.
func (p *plan) item() *plan {
	if p == nil {
		return nil
	}
	return p.items
}

// hasNames reports whether an object may have these members.
func (p *plan) hasNames(names [][]byte) bool {
	if p == nil {
		return true
	}
	for _, required := range p.required {
		if !slices.ContainsFunc(names, func(name []byte) bool { return string(name) == required }) {
			return false
		}
	}
	return len(names) >= p.fewestNames && len(names) <= p.mostNames
}

// hasItems reports whether an array may have so many items.
func (p *plan) hasItems(n int) bool {
	return p == nil || n >= p.fewestItems && n <= p.mostItems
}

// siteForm is the pattern of the names of sites, and isTokenText reports
// whether the text is of it.
const siteForm = "^[a-z0-9][a-z0-9-]*$"

func isTokenText(text []byte) bool {
	for i, c := range text {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && (c != '-' || i == 0) {
			return false
		}
	}
	return len(text) > 0
}

// monthDays are how many days each month has in every year, from January at 1.
const monthDays = "\x00\x1f\x1c\x1f\x1e\x1f\x1e\x1f\x1f\x1e\x1f\x1e\x1f"

// isMoment reports whether the text is a time of RFC 3339 for certain.
func isMoment(text []byte) bool {
	const form = "0000-00-00T00:00:00"
	if len(text) < len(form)+1 {
		return false
	}
	for i := range len(form) {
		if digit := text[i] >= '0' && text[i] <= '9'; form[i] == '0' != digit || !digit && text[i] != form[i] {
			return false
		}
	}
	two := func(at int) int { return int(text[at]-'0')*10 + int(text[at+1]-'0') }
	month, day := two(5), two(8)
	if month > 12 || day < 1 || day > int(monthDays[month]) || two(11) > 23 || two(14) > 59 || two(17) > 59 {
		return false
	}
	rest := text[len(form):]
	if rest[0] == '.' {
		tail := bytes.TrimLeft(rest[1:], "0123456789")
		if len(tail) == len(rest)-1 {
			return false
		}
		rest = tail
	}
	return string(rest) == "Z"
}
