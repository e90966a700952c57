package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/parley-chat/parley/bench/ours"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// The shop's pages are the same but for their chat.
func TestChatsOfTheShop(t *testing.T) {
	t.Parallel()
	handler, err := chats(shop.New().Hosts()[shop.Host])
	if err != nil {
		t.Fatal(err)
	}
	get := func(query string) string {
		t.Helper()
		seen := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, shop.Origin+"/product"+query, http.NoBody)
		r.Header.Set("Accept-Encoding", "identity")
		handler.ServeHTTP(seen, r)
		body, err := io.ReadAll(seen.Result().Body)
		if err != nil || seen.Code != http.StatusOK || !strings.HasPrefix(seen.Header().Get("Content-Type"), "text/html") {
			t.Fatalf("%q: %d, %v", query, seen.Code, err)
		}
		return string(body)
	}
	none, vendor, parley := get("?chat="+chatNone), get("?chat="+chatVendor), get("?chat="+chatParley)
	for _, tt := range []struct {
		name, page   string
		theirs, ours bool
	}{{"none", none, false, false}, {"vendor", vendor, true, false}, {"parley", parley, false, true}} {
		if strings.Contains(tt.page, "widget.botstar.com") != tt.theirs || strings.Contains(tt.page, `data-parley="`+ours.VisitorKey) != tt.ours {
			t.Errorf("the page of %s has another chat", tt.name)
		}
	}
	before, rest, _ := strings.Cut(parley, "<script>!function(w)")
	_, rest, _ = strings.Cut(rest, "data-parley=")
	_, after, found := strings.Cut(rest, "</script>\n")
	if !found || before+after != none {
		t.Error("the pages differ in more than the tag")
	}
	if got := string(exchange([]byte("<p>no chat</p>"), "tag")); got != "<p>no chat</p>" {
		t.Errorf("a page without a snippet becomes %s", got)
	}
}
