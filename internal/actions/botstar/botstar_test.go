package botstar_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares the text with the file, or writes it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", file, diff)
	}
}

func catalog(t *testing.T) *actions.Catalog {
	t.Helper()
	c, err := actions.NewCatalog(botstar.Provider())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestNames resolves every name of the product page and of the hubs.
func TestNames(t *testing.T) {
	t.Parallel()
	c := catalog(t)
	tests := []struct{ action, title, hub, slug, field string }{
		{"botstar.widget.on_close", "Register close callback", "BotStar LiveChat onClose Callback", "BOTSTAR_BOTSTAR_LIVECHAT_ON_CLOSE", "js_snippet"},
		{"botstar.app.list_ids", "Get application IDs", "Get BotStar Application IDs", "BOTSTAR_GET_BOT_APP_ID", ""},
		{"botstar.widget.boot", "Boot live chat", "Livechat boot", "BOTSTAR_LIVECHAT_BOOT", "js"},
		{"botstar.widget.close", "Close chat widget", "Close BotStar Livechat Widget", "BOTSTAR_LIVECHAT_CLOSE", "js"},
		{"botstar.widget.on_open", "Register open callback", "Livechat on open", "BOTSTAR_LIVECHAT_ON_OPEN", "snippet"},
		{"botstar.widget.open", "Open chat widget", "Livechat open", "BOTSTAR_LIVECHAT_OPEN", "js"},
		{"botstar.widget.update", "Update user details", "Livechat update", "BOTSTAR_LIVECHAT_UPDATE", "snippet"},
		{"botstar.webview.get_parameter", "Get webview parameter", "Get BotStar Webview Parameter", "BOTSTAR_WEBVIEW_GET_PARAMETER", "js"},
		{"botstar.webview.send_response", "Send webview response", "Webview send response", "BOTSTAR_WEBVIEW_SEND_RESPONSE", "snippet"},
		{"botstar.widget.set_mode", "Set widget mode", "", "", ""},
		{"botstar.session.get_state", "Fetch session state", "", "", ""},
		{"botstar.user.clear_profile", "Clear user profile", "", "", ""},
		{"botstar.widget.on_close", "register  CLOSE callback", "", "BOTSTAR_LIVECHAT_ON_CLOSE", "js_snippet"},
	}
	for _, tt := range tests {
		for _, name := range []string{tt.action, tt.title, tt.hub, tt.slug, strings.ToLower(tt.slug)} {
			if name == "" {
				continue
			}
			spec, alias, err := c.Find(name)
			if err != nil || spec.Name != tt.action {
				t.Errorf("Find(%q) = %q, %v; want %q", name, spec.Name, err, tt.action)
				continue
			}
			if name == tt.slug && alias.SnippetField != tt.field {
				t.Errorf("the snippet field of %s is %q, want %q", name, alias.SnippetField, tt.field)
			}
		}
		if spec, _, err := c.Find(tt.action); err != nil || !strings.EqualFold(spec.Title, strings.Join(strings.Fields(tt.title), " ")) {
			t.Errorf("the title of %s is %q (%v), want %q", tt.action, spec.Title, err, tt.title)
		}
	}
}

// TestNameCount holds the numbers that are promised: 38 actions, 21 names of
// the product page, nine slugs and one spelling more, and a name for each action
// of the REST API.
func TestNameCount(t *testing.T) {
	t.Parallel()
	got := map[string]int{}
	for _, spec := range botstar.Provider().Actions {
		got["action"]++
		for _, alias := range spec.Aliases {
			got[alias.Kind]++
		}
	}
	want := map[string]int{"action": 38, "title": 12, "hub": 9 + 26, "slug": 10}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

// TestSpecs holds what every action must say of itself.
func TestSpecs(t *testing.T) {
	t.Parallel()
	for _, spec := range botstar.Provider().Actions {
		t.Run(spec.Name, func(t *testing.T) {
			t.Parallel()
			if len(spec.Description) < 60 || !strings.HasSuffix(spec.Description, ".") {
				t.Errorf("the description is no sentence: %q", spec.Description)
			}
			if spec.Verification == "" || spec.Verify == nil || spec.Run == nil {
				t.Error("the verification or the run is missing")
			}
			if len(spec.Reasons) == 0 {
				t.Error("there are no reasons")
			}
			for _, reason := range spec.Reasons {
				if entry := reason.Entry(); entry.Code == fault.Internal || entry.Fix == "" {
					t.Errorf("the reason %s has no entry with a fix", reason)
				}
			}
			if b := spec.Timeout; b.Min <= 0 || b.Default < b.Min || b.Max < b.Default {
				t.Errorf("the bounds are %v", b)
			}
			slugs := slices.ContainsFunc(spec.Aliases, func(a actions.Alias) bool { return a.SnippetField != "" })
			if slugs != (spec.Snippet != nil) {
				t.Errorf("a hub wants a snippet: %t; the action has one: %t", slugs, spec.Snippet != nil)
			}
			if !slices.Contains([]event.Class{event.ClassRead, event.ClassWrite}, spec.Scope) {
				t.Errorf("the scope is %q", spec.Scope)
			}
		})
	}
}

func TestUpdateHasBudget(t *testing.T) {
	t.Parallel()
	spec, _, err := catalog(t).Find("botstar.widget.update")
	if err != nil {
		t.Fatal(err)
	}
	if spec.Budget == nil || spec.Budget.Calls != 20 || spec.Budget.Window.Seconds() != 1800 {
		t.Errorf("the budget is %+v", spec.Budget)
	}
}

func TestCheckAppID(t *testing.T) {
	t.Parallel()
	tests := []struct {
		id string
		ok bool
	}{
		{"s0a1b2c3d-0000-4000-8000-000000000001", true},
		{"sABCDEF01-0000-1000-8000-00000000000f", true},
		{"0a1b2c3d-0000-4000-8000-000000000001", false},
		{"s0a1b2c3d-0000-4000-8000-00000000000", false},
		{"s0a1b2c3d-0000-4000-8000-000000000001\n", false},
		{"", false},
		{strings.Repeat("s", 10000), false},
	}
	for _, tt := range tests {
		if err := botstar.Provider().CheckAppID(tt.id); (err == nil) != tt.ok {
			t.Errorf("CheckAppID(%.40q) = %v, want ok: %t", tt.id, err, tt.ok)
		}
	}
}

func TestLightPage(t *testing.T) {
	t.Parallel()
	page := botstar.Provider().Light(actions.Site{Name: `<shop> & "sons"`, AppID: "s0a1b2c3d-0000-4000-8000-000000000001", URL: "https://shop.example.test/"})
	golden(t, "light.html", page)
}
