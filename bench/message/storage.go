package message

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
)

// StorageBytes is about how much a page of Storage stores: names and values.
const StorageBytes = 50_000

// Storage returns what a customer's page may have stored, different for every
// n: half of its bytes are tokens, which nothing compresses, and half the JSON
// of a cart and of the pages that were seen.
func Storage(n int) map[string]string {
	const entry = StorageBytes / 20
	dice := rand.New(rand.NewPCG(uint64(n), 3)) //nolint:gosec // a count is not negative.
	all := make(map[string]string, 20)
	for i := range 10 {
		token := make([]byte, entry*3/4)
		for at := range token {
			token[at] = byte(dice.Uint32()) //nolint:gosec // its last byte is wanted.
		}
		all[fmt.Sprintf("token.%d", i)] = base64.RawURLEncoding.EncodeToString(token)
		var seen strings.Builder
		for seen.Len() < entry {
			fmt.Fprintf(&seen, `{"sku":"P-%06d","title":"Product number %d","price":%d.99,"quantity":%d,"seen":"2026-11-%02dT%02d:%02d:00Z"},`,
				dice.IntN(1e6), dice.IntN(500), dice.IntN(200), 1+dice.IntN(4), 1+dice.IntN(28), dice.IntN(24), dice.IntN(60))
		}
		all[fmt.Sprintf("cart.%d", i)] = "[" + strings.TrimSuffix(seen.String(), ",") + "]"
	}
	return all
}
