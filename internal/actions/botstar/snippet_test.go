package botstar_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestSnippets holds the text that a hub's caller gets. A person reads it when
// it changes.
func TestSnippets(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, params string }{
		{"BOTSTAR_LIVECHAT_BOOT", `{"appId":"s0a1b2c3d-0000-4000-8000-000000000001","mode":"popup","user":{"user_id":"u-42","tags":["vip"]},"variables":{"seats":3},"block":"s00000000-0000-0000-0000-000000000009"}`},
		{"BOTSTAR_LIVECHAT_BOOT", ``},
		{"BOTSTAR_LIVECHAT_OPEN", ``},
		{"BOTSTAR_LIVECHAT_CLOSE", ``},
		{"BOTSTAR_LIVECHAT_UPDATE", `{"first_name":"</script><script>alert(1)</script>","last_name":"\u2028 ' \" ` + "`" + `","parley_flush":false}`},
		{"BOTSTAR_LIVECHAT_UPDATE", `{"__proto__":"x","constructor":"y","plan":"solo"}`},
		{"BOTSTAR_LIVECHAT_UPDATE", ``},
		{"BOTSTAR_LIVECHAT_UPDATE", `{"botstar_user_id":"s1","plan":"solo"}`},
		{"BOTSTAR_LIVECHAT_BOOT", `{"user":{"botstar_user_id":"s1","plan":"solo"}}`},
		{"BOTSTAR_LIVECHAT_ON_OPEN", `{"callback":"function () { track('opened') } // done"}`},
		{"BOTSTAR_LIVECHAT_ON_OPEN", ``},
		{"BOTSTAR_BOTSTAR_LIVECHAT_ON_CLOSE", `{"callback_code":"track('closed') // done"}`},
		{"BOTSTAR_LIVECHAT_ON_CLOSE", `{}`},
		{"BOTSTAR_WEBVIEW_GET_PARAMETER", `{"parameter_name":"city'); alert(1); ('"}`},
		{"BOTSTAR_WEBVIEW_SEND_RESPONSE", `{"response":"done","outputs":{"total":19},"outlet_name":"Quote Accepted"}`},
		{"BOTSTAR_WEBVIEW_SEND_RESPONSE", `{"response":""}`},
	}
	c := catalog(t)
	var all strings.Builder
	for _, tt := range tests {
		spec, alias, err := c.Find(tt.name)
		if err != nil {
			t.Fatal(err)
		}
		text := spec.Snippet(json.RawMessage(tt.params))
		if strings.Contains(text, "</script") || strings.Contains(text, "\u2028") || strings.Contains(text, "parley") {
			t.Errorf("the snippet of %s is not safe: %s", tt.name, text)
		}
		fmt.Fprintf(&all, "== %s %s\n%s: %s\n", tt.name, tt.params, alias.SnippetField, text)
	}
	golden(t, "snippets.txt", all.String())
}
