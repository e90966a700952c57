package snippet

import (
	"crypto/sha256"
	_ "embed" // for the stub
	"encoding/base64"
	"fmt"
	"html"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// Who speaks for the visitor: [Site.Consent].
const (
	ConsentAsk    = "ask"    // Nothing happens before parley.consent.
	ConsentGoogle = "google" // Google's consent mode speaks too.
	ConsentGiven  = "given"  // The site answers for its visitors.
)

// Site is what a tag is made for.
type Site struct {
	// Key is the site's publishable key.
	Key string
	// Gateway is the base address of the gateway, such as https://chat.example.com.
	Gateway string
	// Provider is the chat vendor.
	Provider string
	// Consent is one of the constants; "" is ConsentAsk.
	Consent string
	// Nonce is what the site puts into script-src, anew for each answer: a place
	// holder of its templates, usually. Without one the policy names a hash and
	// addresses.
	Nonce string
	// Latest makes the tag follow the gateway's version: it vouches for no
	// content, and need not be changed after an update.
	Latest bool
}

// stub queues what the page calls before parley.js is there. It is optional.
//
//go:embed src/stub.js
var stub string

// Stub returns the text between the tags of the optional inline script.
func Stub() string { return strings.TrimSpace(stub) }

// origin checks the gateway's address, and returns it without a slash at its end.
func (s Site) origin() (string, error) {
	u, err := url.Parse(s.Gateway)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return "", fault.New(fault.BadConfig, "the gateway's address %q is no origin", s.Gateway).
			WithFix("write scheme and host, such as https://chat.example.com")
	}
	return u.Scheme + "://" + u.Host, nil
}

// driver returns the file of the site's provider.
func (s Site) driver() (Manifest, File, error) {
	m, err := Load()
	if err != nil {
		return m, File{}, err
	}
	maps.DeleteFunc(m.Drivers, func(_ string, f File) bool { return f.Further })
	f, ok := m.Drivers[s.Provider]
	if !ok {
		return m, f, fault.New(fault.UnsupportedProvider, "there is no driver of %s for visitors' pages", s.Provider).
			WithFix("the providers are %s", strings.Join(slices.Sorted(maps.Keys(m.Drivers)), ", "))
	}
	return m, f, nil
}

// Tag returns the script elements for a page: the stub, and parley.js.
func Tag(s Site) (string, error) {
	base, err := s.origin()
	if err != nil {
		return "", err
	}
	m, _, err := s.driver()
	if err != nil {
		return "", err
	}
	nonce := ""
	if s.Nonce != "" {
		nonce = ` nonce="` + html.EscapeString(s.Nonce) + `"`
	}
	consent := s.Consent
	if consent == "" {
		consent = ConsentAsk
	}
	file, integrity := m.Snippet.Name, fmt.Sprintf(` integrity="%s"`, m.Snippet.Integrity)
	if s.Latest {
		file, integrity = latest, ""
	}
	return fmt.Sprintf(`<script%s>%s</script>
<script async fetchpriority="low" src="%s"%s crossorigin="anonymous"%s data-parley="%s" data-consent="%s"></script>
`,
		nonce, Stub(), base+wire.FilesPath+"/"+file, integrity, nonce, html.EscapeString(s.Key), html.EscapeString(consent)), nil
}

// Policy is the part of a Content Security Policy that somebody needs, by
// directive.
type Policy map[string][]string

// CSP returns what a page with the tag needs of its policy: of script-src,
// connect-src, and what the vendor's widget asks for. Parley needs neither
// 'unsafe-eval' nor 'unsafe-inline'; what of it is in the list is the vendor's.
func CSP(s Site) (Policy, error) {
	base, err := s.origin()
	if err != nil {
		return nil, err
	}
	_, driver, err := s.driver()
	if err != nil {
		return nil, err
	}
	policy := Policy{}
	add := func(directive string, sources ...string) {
		for _, source := range sources {
			if !slices.Contains(policy[directive], source) {
				policy[directive] = append(policy[directive], source)
			}
		}
	}
	if s.Nonce != "" {
		add("script-src", "'nonce-"+s.Nonce+"'")
	} else {
		sum := sha256.Sum256([]byte(Stub()))
		add("script-src", "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	}
	add("script-src", base+wire.FilesPath+"/")
	add("connect-src", base, "ws"+strings.TrimPrefix(base, "http"))
	for _, directive := range slices.Sorted(maps.Keys(driver.CSP)) {
		add(directive, driver.CSP[directive]...)
	}
	return policy, nil
}

// String returns the policy as a header has it, directives in order.
func (p Policy) String() string {
	var parts []string
	for _, directive := range slices.Sorted(maps.Keys(p)) {
		parts = append(parts, directive+" "+strings.Join(p[directive], " "))
	}
	return strings.Join(parts, "; ")
}

// TestPage returns a page that has the tag, under exactly the policy of [CSP]
// and default-src 'none', and says whether parley.js has run.
func TestPage(s Site, name string) (string, error) {
	if s.Nonce == "" {
		s.Nonce = "test-page"
	}
	tag, err := Tag(s)
	if err != nil {
		return "", err
	}
	policy, err := CSP(s)
	if err != nil {
		return "", err
	}
	policy["default-src"] = []string{"'none'"}
	policy["base-uri"] = []string{"'none'"}
	r := strings.NewReplacer("{{policy}}", html.EscapeString(policy.String()), "{{name}}", html.EscapeString(name),
		"{{nonce}}", html.EscapeString(s.Nonce), "{{tag}}", tag)
	return r.Replace(testPage), nil
}

//go:embed src/testpage.html
var testPage string
