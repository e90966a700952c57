package vault_test

import (
	"testing"

	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/vault"
)

// BenchmarkToken is what a call to a vendor pays for its token: the store is read
// and the record opened, each time.
func BenchmarkToken(b *testing.B) {
	w := newWorld(b, oauth.Options{})
	name := vault.Name{Provider: oauth.HubSpot}
	w.connect(name)
	source := w.vault.Source(name)
	for b.Loop() {
		_, _, end, err := source.Token(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		end()
	}
}
