package app

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/vault"
)

// TestConnectedTokens takes tokens from connections: the site's own first, and
// what the configuration names before both. A revocation ends what is under way.
func TestConnectedTokens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, file := filepath.Join(dir, "vault.key"), filepath.Join(dir, "token")
	if _, err := vault.EnsureMaster(key); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("file-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := "vault:\n  key: file:" + key + "\n  seen: " + filepath.Join(dir, "seen") + "\n" + oneSite +
		"  docs:\n    app_id: s0a1b2c3d-0000-4000-8000-000000000002\n    domains: [docs.example.com]\n" +
		"  named:\n    app_id: s0a1b2c3d-0000-4000-8000-000000000003\n    domains: [named.example.com]\n    rest:\n      token: file:" + file + "\n"
	cfg, err := parseConfig("parley.yaml", []byte(text), Env{}, catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	v, err := openVault(t.Context(), bustest.Log(t), cfg, Env{}, bustest.Start(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name vault.Name, token string) {
		t.Helper()
		if _, err := v.PutToken(t.Context(), name, vault.NewSecret(token), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	tokens := siteTokens(newFileTokens(cfg, Env{}), v)
	wants := func(site string, kind actions.TokenKind, want string) {
		t.Helper()
		_, token, end, err := tokens.Token(t.Context(), site, kind)
		if want == "" {
			if f := fault.From(err); f == nil || f.Reason != fault.TokenMissing || !strings.Contains(f.Fix, "publisher connect botstar --site "+site) {
				t.Errorf("the %s token of %s: %v", kind, site, err)
			}
			return
		}
		if err != nil || token.Reveal() != want {
			t.Errorf("the %s token of %s is %q, %v; want %q", kind, site, token.Reveal(), err, want)
			return
		}
		end()
	}
	wants("shop", actions.AccountToken, "")
	wants("shop", actions.BotToken, "")
	put(vault.Name{Provider: "botstar"}, "token-of-all-sites")
	put(vault.Name{Provider: "botstar", Site: "shop"}, "token-of-the-shop")
	put(vault.Name{Provider: "botstar", Principal: "bot"}, "token-of-the-bot")
	wants("shop", actions.AccountToken, "token-of-the-shop")
	wants("docs", actions.AccountToken, "token-of-all-sites")
	wants("named", actions.AccountToken, "file-token")
	wants("named", actions.BotToken, "token-of-the-bot")

	shop, old := vault.Name{Provider: "botstar", Site: "shop"}, actions.NewToken("token-of-the-shop")
	if _, err := v.RotateToken(t.Context(), shop, vault.NewSecret("token-of-tomorrow"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if next, err := tokens.Refused(t.Context(), "shop", actions.AccountToken, old); err != nil || next.Reveal() != "token-of-tomorrow" {
		t.Errorf("the token after the refused one is %q, %v", next.Reveal(), err)
	}
	using, _, end, err := tokens.Token(t.Context(), "shop", actions.AccountToken)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	if _, err := v.Revoke(t.Context(), shop, "a test"); err != nil {
		t.Fatal(err)
	}
	<-using.Done()
	if cause := fault.From(context.Cause(using)).Reason; cause != fault.ConnectionRevoked {
		t.Errorf("what was under way ended with %s", cause)
	}
	if _, _, _, err := tokens.Token(t.Context(), "shop", actions.AccountToken); fault.From(err).Reason != fault.ConnectionRevoked {
		t.Errorf("the revoked token: %v", err)
	}
}
