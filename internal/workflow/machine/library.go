package machine

import (
	"maps"

	"github.com/parley-chat/parley/internal/workflow"
)

// Library is a set of current programs, and older ones that runs under way began
// with. It never changes.
type Library struct {
	set   *workflow.Set
	by    map[string]*workflow.Program // by digest
	facts map[string]bool              // by site; "" is every site
}

// NewLibrary returns the library of the set.
func NewLibrary(set *workflow.Set, older ...*workflow.Program) *Library {
	l := &Library{set: set, by: map[string]*workflow.Program{}, facts: map[string]bool{}}
	for _, p := range older {
		l.by[p.Digest] = p
	}
	for _, p := range set.Programs() {
		l.by[p.Digest] = p
		for _, start := range p.Starts {
			if start.Topic.Kind != "" {
				continue
			}
			l.facts[""] = l.facts[""] || len(start.Sites) == 0
			for _, site := range start.Sites {
				l.facts[site] = true
			}
		}
	}
	return l
}

// With returns the library with one more program of long ago.
func (l *Library) With(older *workflow.Program) *Library {
	more := *l
	more.by = maps.Clone(l.by)
	more.by[older.Digest] = older
	return &more
}

// Starting returns the current programs that the topic starts on the site.
func (l *Library) Starting(topic workflow.Topic, site string) []*workflow.Program {
	return l.set.Starting(topic, site)
}

// Current returns the current program of the name.
func (l *Library) Current(name string) (*workflow.Program, bool) { return l.set.Program(name) }

// All returns the current programs.
func (l *Library) All() []*workflow.Program { return l.set.Programs() }

// Program returns the program of the digest.
func (l *Library) Program(digest string) (*workflow.Program, bool) {
	p, ok := l.by[digest]
	return p, ok
}

// Facts reports whether facts start a current program on the site.
func (l *Library) Facts(site string) bool { return l.facts[""] || l.facts[site] }
