package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/schemas"
)

const oneSite = "sites:\n  shop:\n    app_id: s0a1b2c3d-0000-4000-8000-000000000001\n    domains: [shop.example.com]\n"

// TestBadConfigs reads testdata/*.bad.yml: one file per message. The message is
// in the file of the same name that ends in .txt.
func TestBadConfigs(t *testing.T) {
	t.Parallel()
	catalog := catalogue(t)
	files, err := filepath.Glob("testdata/*.bad.yml")
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d bad configurations, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = parseConfig("parley.yaml", text, Env{}, catalog)
			if err == nil {
				t.Fatal("the configuration was accepted")
			}
			if reason := fault.From(err).Reason; reason != fault.BadConfig {
				t.Errorf("the reason is %s", reason)
			}
			golden(t, strings.TrimSuffix(file, ".yml")+".txt", err.Error()+"\n")
		})
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got, err := parseConfig("parley.yaml", []byte(oneSite), Env{}, catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Bus:      BusConfig{Dir: ".parley/nats", Listen: "127.0.0.1:4222", Durability: "interval", Replicas: 1},
		Browser:  BrowserConfig{Processes: 1, Tabs: 100, Spare: 2, Idle: 10 * time.Minute, MaxAge: 12 * time.Hour, LoadTimeout: 30 * time.Second},
		Worker:   WorkerConfig{Lanes: 16, Grace: 20 * time.Second},
		Sessions: SessionsConfig{Keep: 7 * 24 * time.Hour},
		Ingest: IngestConfig{
			MaxBody: "1MiB", Memory: "128MiB", Connections: 8192, Requests: 1024, Grace: 20 * time.Second, Remember: 9480 * time.Hour,
		},
		Gateway:   GatewayConfig{TokenLife: 10 * time.Minute, Connections: 100_000, PerAddress: 500, Drain: 5 * time.Second},
		Vault:     VaultConfig{KMS: KMSConfig{Mount: "transit"}},
		Telemetry: TelemetryConfig{Level: "info", Format: "auto"},
		Sites: map[string]SiteConfig{"shop": {
			Provider: "botstar", AppID: "s0a1b2c3d-0000-4000-8000-000000000001", Domains: []string{"shop.example.com"},
			URL: "https://shop.example.com/", Mode: "livechat", Page: "light",
			Visitor: SiteVisitor{Executor: "auto", Load: "action", Analytics: SiteAnalytics{PerMinute: 60}},
		}},
		File: "parley.yaml",
	}
	if diff := cmp.Diff(want, got, cmp.FilterPath(func(p cmp.Path) bool {
		name := p.Last().String()
		return name == ".dir" || name == ".rules"
	}, cmp.Ignore())); diff != "" {
		t.Errorf("the defaults differ (-want +got):\n%s", diff)
	}
}

func TestEnvironmentOverrides(t *testing.T) {
	t.Parallel()
	catalog := catalogue(t)
	env := EnvOf([]string{
		"PARLEY_BUS_URL=nats://10.0.0.1:4222", "PARLEY_BROWSER_TABS=7", "PARLEY_WORKER_GRACE=3s",
		"PARLEY_WORKER_ACTIONS=botstar.widget.*,botstar.app.list_ids", "PARLEY_WORKER_LANE=3", "HOME=/root",
	})
	c, err := parseConfig("parley.yaml", []byte("bus:\n  url: nats://127.0.0.1:1\n"+oneSite), env, catalog)
	if err != nil {
		t.Fatal(err)
	}
	if c.Bus.URL != "nats://10.0.0.1:4222" || c.Browser.Tabs != 7 || c.Worker.Grace != 3*time.Second ||
		!cmp.Equal(c.Worker.Actions, []string{"botstar.widget.*", "botstar.app.list_ids"}) {
		t.Errorf("the configuration is %+v", c)
	}
	want := []string{"the environment variable PARLEY_WORKER_LANE overrides no key; did you mean PARLEY_WORKER_LANES?"}
	if diff := cmp.Diff(want, c.Warnings); diff != "" {
		t.Errorf("the warnings differ (-want +got):\n%s", diff)
	}
	for name, text := range map[string]string{
		"PARLEY_BROWSER_TABS": "many", "PARLEY_WORKER_GRACE": "20", "PARLEY_BUS_DURABILITY": "never", "PARLEY_BUS_URL": "http://x",
	} {
		if _, err := parseConfig("parley.yaml", []byte(oneSite), Env{name: text}, catalog); fault.From(err) == nil || fault.From(err).Reason != fault.BadConfig {
			t.Errorf("%s=%s gives %v", name, text, err)
		}
	}
}

func TestFindSite(t *testing.T) {
	t.Parallel()
	const id = "    app_id: s0a1b2c3d-0000-4000-8000-000000000001\n"
	c, err := parseConfig("parley.yaml", []byte("sites:\n"+
		"  shop:\n"+id+"    domains: [shop.example.com, www.shop.example.com]\n"+
		"  shop-de:\n"+id+"    domains: [shop.example.com/de]\n"+
		"  shop-de-b2b:\n"+id+"    domains: [shop.example.com/de/b2b/]\n"), Env{}, catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		text, want string
		reason     fault.Reason
	}{
		{"shop", "shop", ""},
		{"https://shop.example.com/", "shop", ""},
		{"https://SHOP.example.com:443/pricing?x=1", "shop", ""},
		{"www.shop.example.com", "shop", ""},
		{"https://shop.example.com/de", "shop-de", ""},
		{"https://shop.example.com/de/preise", "shop-de", ""},
		{"https://shop.example.com/design", "shop", ""},
		{"https://shop.example.com/de/b2b/x", "shop-de-b2b", ""},
		{"https://example.com/", "", fault.UnmappedDomain},
		{"https://shop.example.com.evil.test/", "", fault.UnmappedDomain},
		{"shpo", "", fault.UnknownSite},
		{"://", "", fault.UnmappedDomain},
	}
	for _, test := range tests {
		got, err := c.FindSite(test.text)
		if got != test.want || (err != nil) != (test.reason != "") || err != nil && fault.From(err).Reason != test.reason {
			t.Errorf("FindSite(%q) = %q, %v; want %q, %q", test.text, got, err, test.want, test.reason)
		}
	}
	if _, err := c.FindSite("shpo"); fault.From(err).Fix != "did you mean shop?" {
		t.Errorf("the fix is %q", fault.From(err).Fix)
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "nats.creds")
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for secret, want := range map[Secret]string{"": "", Secret("file:" + file): file, "env:CREDS": file} {
		if got, err := secret.Path(Env{"CREDS": file}); got != want || err != nil {
			t.Errorf("Path(%s) = %q, %v", secret, got, err)
		}
	}
	if _, err := Secret("env:NOWHERE").Path(Env{}); fault.From(err).Reason != fault.BadConfig {
		t.Errorf("an unset variable gives %v", err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Secret("file:" + file).Path(Env{}); err == nil || !strings.Contains(fault.From(err).Fix, "chmod 600") {
		t.Errorf("a readable secret gives %v", err)
	}
	if got := redact("nats://user:secret@host:4222"); got != "nats://***@host:4222" {
		t.Errorf("redact = %s", got)
	}
}

// TestExamples holds the example configuration and rules of the repository, and
// that the built-in ones are the same.
func TestExamples(t *testing.T) {
	t.Parallel()
	catalog := catalogue(t)
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig("../../parley.yaml", Env{}, catalog)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := LoadRules(c, catalog, validators)
	if err != nil {
		t.Fatal(err)
	}
	if rules.Len() < 2 {
		t.Errorf("the examples have %d rules", rules.Len())
	}
	builtin, err := builtIn(Env{}, &cli{catalog: catalog})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.Sites, builtin.Sites); diff != "" {
		t.Errorf("the built-in sites differ from those of parley.yaml:\n%s", diff)
	}
	example, err := os.ReadFile("../../examples/workflows/pricing-viewed.yaml")
	if err != nil {
		t.Fatal(err)
	}
	embedded, err := demoFiles.ReadFile("demo/rules/pricing-viewed.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(example), string(embedded)); diff != "" {
		t.Errorf("the built-in rule differs from the example:\n%s", diff)
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		size  Size
		bytes int64
		wrong bool
	}{
		{"", 0, false},
		{"512MiB", 512 << 20, false},
		{" 2 GiB ", 2 << 30, false},
		{"64KiB", 64 << 10, false},
		{"2", 0, true},
		{"2GB", 0, true},
		{"0GiB", 0, true},
		{"-1GiB", 0, true},
		{"1.5GiB", 0, true},
		{"9999999999GiB", 0, true},
		{"GiB", 0, true},
	}
	for _, test := range tests {
		if got, err := test.size.Bytes(); got != test.bytes || (err != nil) != test.wrong {
			t.Errorf("%q has %d bytes, %v; want %d, wrong %t", test.size, got, err, test.bytes, test.wrong)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 9 << 10: "9216 B", 48 << 10: "48 KiB", 300 << 20: "300 MiB", 12 << 30: "12 GiB"} {
		if got := showBytes(n); got != want {
			t.Errorf("%d bytes are shown as %s, want %s", n, got, want)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		meminfo, cgroup string
		want            int64
	}{
		{"MemTotal:       16000000 kB\n", "max\n", 4096000000},
		{"MemTotal:       16000000 kB\n", "4294967296\n", 1 << 30},
		{"MemTotal:        1000000 kB\n", "", 512 << 20},
		{"", "", 512 << 20},
	}
	for _, test := range tests {
		if got := memoryLimit(test.meminfo, test.cgroup); got != test.want {
			t.Errorf("memoryLimit(%q, %q) = %d, want %d", test.meminfo, test.cgroup, got, test.want)
		}
	}
}
