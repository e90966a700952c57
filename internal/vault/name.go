package vault

import (
	"encoding/binary"
	"strings"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// The parts of a name that nobody gave.
const (
	DefaultTenant      = "main"
	DefaultEnvironment = "production"
	DefaultPrincipal   = "default"
	// AnySite is the site of a connection that serves all sites.
	AnySite = "-"
)

// Name says whose connection to which vendor it is. No two connections have the
// same one. All parts are tokens: lower-case letters, digits and -.
type Name struct {
	Tenant      string `json:"tenant"`
	Environment string `json:"environment"`
	Provider    string `json:"provider"`
	// Site is AnySite, or the only site that may use it.
	Site string `json:"site"`
	// Principal is who gave consent, or what the credentials are for.
	Principal string `json:"principal"`
}

// Filled returns the name with the default for each part that is "".
func (n Name) Filled() Name {
	for part, standard := range map[*string]string{
		&n.Tenant: DefaultTenant, &n.Environment: DefaultEnvironment, &n.Site: AnySite, &n.Principal: DefaultPrincipal,
	} {
		if *part == "" {
			*part = standard
		}
	}
	return n
}

// String returns the parts, with slashes between them.
func (n Name) String() string { return strings.Join(n.parts(), "/") }

// ParseName reads what String returns.
func ParseName(text string) (Name, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 5 {
		return Name{}, fault.New(fault.UnknownConnection, "%q is no name of a connection", text).
			WithFix("a name is tenant/environment/provider/site/principal; `publisher connections list` shows them")
	}
	n := Name{parts[0], parts[1], parts[2], parts[3], parts[4]}
	return n, n.check()
}

// Fits reports whether the name has all parts that the other one gives.
func (n Name) Fits(wanted Name) bool {
	parts := n.parts()
	for i, part := range wanted.parts() {
		if part != "" && part != parts[i] {
			return false
		}
	}
	return true
}

func (n Name) parts() []string {
	return []string{n.Tenant, n.Environment, n.Provider, n.Site, n.Principal}
}

func (n Name) check() error {
	for _, part := range n.parts() {
		if !event.IsToken(part) && part != AnySite {
			return fault.New(fault.SchemaViolation, "%q cannot be a part of a connection's name", part).
				WithFix("use lower-case letters, digits and -")
		}
	}
	return nil
}

// The keys of the store.
const (
	connectionPrefix = "conn."
	leasePrefix      = "lease."
	checkKey         = "check.master"
)

func (n Name) key() string   { return connectionPrefix + strings.Join(n.parts(), ".") }
func (n Name) lease() string { return leasePrefix + strings.Join(n.parts(), ".") }

// nameOf reads a key of a connection.
func nameOf(key string) (Name, error) {
	return ParseName(strings.ReplaceAll(strings.TrimPrefix(key, connectionPrefix), ".", "/"))
}

// about is what a record is sealed as: each part with its length in front, so
// that no two names give the same.
func (n Name) about() []byte {
	about := []byte("parley connection 1\x00")
	for _, part := range n.parts() {
		about = binary.BigEndian.AppendUint32(about, uint32(len(part))) //nolint:gosec // A token has at most 63 bytes.
		about = append(about, part...)
	}
	return about
}
