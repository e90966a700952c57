package botstar

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/fault"
)

func TestParseMetas(t *testing.T) {
	t.Parallel()
	got := parseMetas([]meta{
		{"bs:version", "0.0.1"},
		{"bs:name", "Price calculator"},
		{"bs:input:plan", "type=string,description=The plan, preselected"},
		{"bs:input:seats", " type = Number , description=People"},
		{"bs:input:seats", "type=string"},
		{"bs:input:", "type=string"},
		{"bs:output:total", "description=In euros,type=number"},
		{"bs:output:note", "type=object"},
		{"bs:output:bare", ""},
		{"bs:outlet:Quote Accepted", ""},
		{"bs:outlet:Quote Accepted", ""},
		{"bs:outlet:a:b", ""},
		{"bs:unknown:x", "y"},
		{"viewport", "width=device-width"},
	})
	want := webviewSchema{
		Version: "0.0.1", Name: "Price calculator",
		Inputs: map[string]field{"plan": {"string", "The plan, preselected"}, "seats": {"number", "People"}},
		// What follows a description belongs to it: descriptions hold commas.
		Outputs: map[string]field{"total": {"string", "In euros,type=number"}, "note": {"string", ""}, "bare": {"string", ""}},
		Outlets: []string{"Quote Accepted", "a:b"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("schema (-want +got):\n%s", diff)
	}
}

func TestSchemaCheck(t *testing.T) {
	t.Parallel()
	schema := webviewSchema{
		Outputs: map[string]field{"total": {Type: "number"}, "plan": {Type: "string"}},
		Outlets: []string{"Quote Accepted"},
	}
	tests := []struct {
		name   string
		in     SendResponseIn
		reason fault.Reason
		field  string
	}{
		{"empty", SendResponseIn{}, "", ""},
		{"all", SendResponseIn{Outputs: map[string]any{"total": 19.0, "plan": "Solo"}, OutletName: "Quote Accepted"}, "", ""},
		{"output", SendResponseIn{Outputs: map[string]any{"totl": 19.0}}, fault.NotDeclared, "/params/outputs/totl"},
		{"outlet", SendResponseIn{OutletName: "quote accepted"}, fault.NotDeclared, "/params/outlet_name"},
		{"text for a number", SendResponseIn{Outputs: map[string]any{"total": "19"}}, fault.SchemaViolation, "/params/outputs/total"},
		{"number for a text", SendResponseIn{Outputs: map[string]any{"plan": 1.0}}, fault.SchemaViolation, "/params/outputs/plan"},
		{"null", SendResponseIn{Outputs: map[string]any{"plan": nil}}, fault.SchemaViolation, "/params/outputs/plan"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := schema.check(tt.in)
			if err == nil {
				if tt.reason != "" {
					t.Errorf("check allowed it, want %s", tt.reason)
				}
				return
			}
			if f := fault.From(err); f.Reason != tt.reason || f.Field != tt.field {
				t.Errorf("check = %v at %s, want %q at %s", f.Reason, f.Field, tt.reason, tt.field)
			}
		})
	}
}

func TestAllowed(t *testing.T) {
	t.Parallel()
	site := actions.Site{Name: "shop", Webviews: []string{"https://shop.example.test", "http://dev.example.test:8080"}}
	tests := []struct {
		address string
		ok      bool
	}{
		{"https://shop.example.test/webview/calculator.html?x=1", true},
		{"https://SHOP.example.test:443/", true},
		{"http://dev.example.test:8080/x", true},
		{"http://shop.example.test/", false},
		{"https://shop.example.test:8443/", false},
		{"https://shop.example.test.evil.test/", false},
		{"https://user:pass@shop.example.test/", false},
		{"https://evil.test/https://shop.example.test/", false},
		{"javascript:alert(1)", false},
		{"file:///etc/passwd", false},
		{"//shop.example.test/", false},
		{"", false},
	}
	for _, tt := range tests {
		if err := allowed(site, tt.address); (err == nil) != tt.ok {
			t.Errorf("allowed(%q) = %v, want ok: %t", tt.address, err, tt.ok)
		}
	}
}
