package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/fault"
)

// TestFileTokens reads tokens from files, and reads them again when the vendor
// refuses one.
func TestFileTokens(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("first-token\n", 0o600)
	text := oneSite + "    rest:\n      token: env:TOKEN_FILE\n  docs:\n    app_id: s0a1b2c3d-0000-4000-8000-000000000002\n    domains: [docs.example.com]\n"
	env := Env{"TOKEN_FILE": file}
	cfg, err := parseConfig("parley.yaml", []byte(text), env, catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tokens := newFileTokens(cfg, env)
	tokens.now = func() time.Time { return now }
	read := func(site string, kind actions.TokenKind) (string, error) {
		_, token, _, err := tokens.Token(t.Context(), site, kind)
		return token.Reveal(), err
	}
	if got, err := read("shop", actions.AccountToken); err != nil || got != "first-token" {
		t.Fatalf("the token is %q, %v", got, err)
	}
	first := actions.NewToken("first-token")
	if _, err := tokens.Refused(t.Context(), "shop", actions.AccountToken, first); fault.From(err).Reason != fault.TokenRefused {
		t.Errorf("a refused token without another: %v", err)
	}
	write("second-token", 0o600)
	if got, err := read("shop", actions.AccountToken); err != nil || got != "first-token" {
		t.Errorf("within a second the token is %q, %v", got, err)
	}
	if next, err := tokens.Refused(t.Context(), "shop", actions.AccountToken, first); err != nil || next.Reveal() != "second-token" {
		t.Errorf("a refused token with another one: %v", err)
	}
	write("third-token", 0o600)
	now = now.Add(2 * time.Second)
	if got, err := read("shop", actions.AccountToken); err != nil || got != "third-token" {
		t.Errorf("after two seconds the token is %q, %v", got, err)
	}
	for site, kind := range map[string]actions.TokenKind{"shop": actions.BotToken, "docs": actions.AccountToken, "nowhere": actions.AccountToken} {
		if _, err := read(site, kind); fault.From(err).Reason != fault.TokenMissing {
			t.Errorf("the %s token of %s: %v", kind, site, err)
		}
	}
	for _, bad := range []string{"", "short", "two\nlines-of-it"} {
		write(bad, 0o600)
		now = now.Add(2 * time.Second)
		if _, err := read("shop", actions.AccountToken); fault.From(err).Reason != fault.TokenMissing || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("the token %q: %v", bad, err)
		}
	}
	write("open-token", 0o644)
	if _, err := read("shop", actions.AccountToken); fault.From(err).Reason != fault.BadConfig {
		t.Errorf("a file that others can read: %v", err)
	}
}

// TestDevBots: the stand-in knows the bots of the sites.
func TestDevBots(t *testing.T) {
	t.Parallel()
	cfg, err := parseConfig("parley.yaml", []byte(oneSite+"    bot_id: b-1\n    bot_name: Nova\n  docs:\n    app_id: s0a1b2c3d-0000-4000-8000-000000000002\n    domains: [docs.example.com]\n"), Env{}, catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	bots := devBots(cfg)
	if len(bots) != 2 || bots[0].ID != "s0a1b2c3d-0000-4000-8000-000000000002" || bots[0].Name != "docs" || bots[1].ID != "b-1" || bots[1].Name != "Nova" {
		t.Errorf("the bots are %+v", bots)
	}
}
