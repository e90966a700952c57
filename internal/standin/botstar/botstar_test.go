package botstar_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/standin"
	"github.com/parley-chat/parley/internal/standin/botstar"
)

const appID = "s0a1b2c3d-0000-4000-8000-000000000001"

// A vendor is a stand-in behind its real host names, spoken to over HTTP as its
// own scripts do.
type vendor struct {
	*botstar.Standin
	t      *testing.T
	client *http.Client
}

func serve(t *testing.T, o botstar.Options) *vendor {
	t.Helper()
	s := botstar.New(o)
	server, err := standin.Start(slog.New(slog.DiscardHandler), s.Hosts())
	if err != nil {
		t.Fatal(err)
	}
	client := server.Client()
	t.Cleanup(func() {
		client.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return &vendor{s, t, client}
}

// ask sends the body to the path of the widget's host, or gets the address when
// there is no body.
func (v *vendor) ask(address, body string) (int, string) {
	v.t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(v.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	res, err := v.client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// boot asks for the bot as a frame does.
func (v *vendor) boot(instance, userID string) {
	v.t.Helper()
	body := fmt.Sprintf(`{"app_id":%q,"user_id":%q,"instance":%q,"mode":"livechat","host":{"href":"https://shop.example.test/"}}`, appID, userID, instance)
	if status, text := v.ask(botstar.WidgetOrigin+"/api/query", body); status != http.StatusOK {
		v.t.Fatalf("booting: %d %s", status, text)
	}
}

// report sends the entries as a frame does.
func (v *vendor) report(instance, entries string) {
	v.t.Helper()
	body := fmt.Sprintf(`{"instance":%q,"entries":[%s]}`, instance, entries)
	if status, text := v.ask(botstar.WidgetOrigin+"/api/event", body); status != http.StatusNoContent {
		v.t.Fatalf("reporting: %d %s", status, text)
	}
}

func TestEveryStartIsAnotherBuild(t *testing.T) {
	t.Parallel()
	a, b := serve(t, botstar.Options{}), serve(t, botstar.Options{})
	name := regexp.MustCompile(`bs-chatbot-(?:fab|frame|widget-container)__([A-Z0-9]{5})`)
	seen := map[string]bool{}
	for _, v := range []*vendor{a, b} {
		_, entry := v.ask(botstar.WidgetOrigin+"/static/js/widget.js", "")
		for _, match := range name.FindAllStringSubmatch(entry, -1) {
			seen[match[1]] = true
		}
	}
	if len(seen) != 6 {
		t.Errorf("two builds have %d hashes for three names: %v", len(seen), seen)
	}
}

func TestEntryHasTheSizeThatIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ size, low, high int }{
		{0, 100_000, 103_000},
		{400_000, 400_000, 403_000},
		{1, 3_000, 10_000},
	} {
		v := serve(t, botstar.Options{EntrySize: test.size})
		_, entry := v.ask(botstar.WidgetOrigin+"/static/js/widget.js", "")
		if len(entry) < test.low || len(entry) > test.high {
			t.Errorf("EntrySize %d gives %d bytes, want %d to %d", test.size, len(entry), test.low, test.high)
		}
	}
}

func TestStyleHasNoBareNames(t *testing.T) {
	t.Parallel()
	v := serve(t, botstar.Options{})
	_, entry := v.ask(botstar.WidgetOrigin+"/static/js/widget.js", "")
	match := regexp.MustCompile(`"chunks":\{"0":"([a-z0-9]+)"\}`).FindStringSubmatch(entry)
	if match == nil {
		t.Fatal("the entry names no chunk")
	}
	status, chunk := v.ask("https://"+botstar.ChunkHost+"/embed/0.chunk."+match[1]+".js", "")
	if status != http.StatusOK {
		t.Fatalf("the chunk answers %d", status)
	}
	style := regexp.MustCompile(`"style":"(.*?)","widgetOrigin"`).FindStringSubmatch(chunk)
	if style == nil {
		t.Fatal("the chunk has no style")
	}
	for _, selector := range regexp.MustCompile(`\.[a-z][a-z-]*[A-Za-z0-9_-]*`).FindAllString(style[1], -1) {
		if !regexp.MustCompile(`__[A-Z0-9]{5}$`).MatchString(selector) {
			t.Errorf("the style has the bare selector %s", selector)
		}
	}
	if status, _ := v.ask("https://"+botstar.ChunkHost+"/embed/1.chunk."+match[1]+".js", ""); status != http.StatusNotFound {
		t.Errorf("a chunk that does not exist answers %d", status)
	}
}

func TestFaultsOfTheChunkAreHiddenByNoCache(t *testing.T) {
	t.Parallel()
	v := serve(t, botstar.Options{})
	_, before := v.ask(botstar.WidgetOrigin+"/static/js/widget.js", "")
	v.Set(botstar.Faults{Chunk: botstar.Fault{Status: http.StatusBadGateway}})
	_, after := v.ask(botstar.WidgetOrigin+"/static/js/widget.js", "")
	name := regexp.MustCompile(`"chunks":\{"0":"([a-z0-9]+)"\}`)
	if a, b := name.FindString(before), name.FindString(after); a == "" || a == b {
		t.Errorf("the chunk is called %s before and %s after the fault", a, b)
	}
}

func TestFaultsOfAnAnswer(t *testing.T) {
	t.Parallel()
	v := serve(t, botstar.Options{})
	entry := botstar.WidgetOrigin + "/static/js/widget.js"
	for _, test := range []struct {
		fault  botstar.Fault
		status int
		body   string
	}{
		{botstar.Fault{}, 200, "BotStarUp"},
		{botstar.Fault{Status: 503, Delay: time.Millisecond}, 503, ""},
		{botstar.Fault{Script: botstar.Throws}, 200, "throw new Error"},
		{botstar.Fault{Script: botstar.SyntaxError}, 200, "return"},
		{botstar.Fault{Script: "unknown"}, 500, "no script broken in the way unknown"},
	} {
		v.Set(botstar.Faults{Entry: test.fault})
		status, body := v.ask(entry, "")
		if body = strings.ReplaceAll(body, `base + "Up"`, "BotStarUp"); status != test.status || !strings.Contains(body, test.body) {
			t.Errorf("%+v: got %d and %.80q, want %d with %q", test.fault, status, body, test.status, test.body)
		}
	}
	v.Set(botstar.Faults{Entry: botstar.Fault{Hang: true}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, entry, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res, err := v.client.Do(req); err == nil {
		_ = res.Body.Close()
		t.Errorf("a hanging answer came: %d", res.StatusCode)
	}
}

func TestPublishedApps(t *testing.T) {
	t.Parallel()
	const block = "s0a1b2c3d-0000-4000-8000-0000000000aa"
	v := serve(t, botstar.Options{Apps: map[string]botstar.App{appID: {
		Name: "Rex", Messages: []botstar.Message{{Text: "Hello"}},
		Blocks: map[string][]botstar.Message{block: {{Text: "From the block"}}},
	}}})
	for _, test := range []struct {
		body   string
		status int
		text   string
	}{
		{`{"app_id":"` + appID + `","instance":"i1","user_id":"u"}`, 200, `"messages":[{"text":"Hello"}]`},
		{`{"app_id":"` + appID + `","instance":"i2","user_id":"u","block":"` + block + `"}`, 200, `"messages":[{"text":"From the block"}]`},
		{`{"app_id":"s0a1b2c3d-0000-4000-8000-000000000009","instance":"i3"}`, 404, "missing_config"},
		{`{"app_id":"undefined"}`, 404, "missing_config"},
		{`{"app_id":`, 400, "bad_request"},
		{`{"app_id":12}`, 400, "bad_request"},
		{`{"x":"` + strings.Repeat("a", 1<<20) + `"}`, 400, "bad_request"},
	} {
		status, text := v.ask(botstar.WidgetOrigin+"/api/query", test.body)
		if status != test.status || !strings.Contains(text, test.text) {
			t.Errorf("%.80s: got %d %s, want %d with %s", test.body, status, text, test.status, test.text)
		}
	}
	want := botstar.Counts{botstar.Booted: 2, botstar.Refused: 2}
	if diff := cmp.Diff(want, v.Ledger().Counts()); diff != "" {
		t.Errorf("the counts (-want +got):\n%s", diff)
	}
}

func TestAddressesThatDoNotExist(t *testing.T) {
	t.Parallel()
	v := serve(t, botstar.Options{})
	for address, want := range map[string]int{
		"https://" + botstar.StaticHost + "/webview/sdk/webview-sdk-1.0.0.js": 200,
		"https://" + botstar.StaticHost + "/webview/sdk/webview-sdk-2.0.0.js": 404,
		"https://" + botstar.AssetsHost + "/widget/launcher.svg":              200,
		"https://" + botstar.OlderAssetsHost + "/bots/avatar.svg":             200,
		"https://" + botstar.AssetsHost + "/nothing.png":                      404,
		botstar.WidgetOrigin + "/" + appID + "?embedded=1":                    200,
		botstar.WidgetOrigin + "/static/js/other.js":                          404,
		botstar.WidgetOrigin + "/api/query":                                   405,
	} {
		if status, _ := v.ask(address, ""); status != want {
			t.Errorf("%s answers %d, want %d", address, status, want)
		}
	}
}
