// Package deploy_test renders the chart as Helm does, and checks that what comes
// out fits the program: its configuration, its flags, its metrics.
package deploy_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/goccy/go-yaml"

	"github.com/parley-chat/parley/internal/app"
)

const chart = "helm/parley"

// object is a Kubernetes object, or a part of one.
type object map[string]any

// at follows the keys, and the indexes of lists, into the object. What is not
// there is nil.
func at(from any, path ...any) any {
	for _, step := range path {
		switch key := step.(type) {
		case string:
			switch of := from.(type) {
			case object:
				from = of[key]
			case map[string]any:
				from = of[key]
			default:
				return nil
			}
		case int:
			list, _ := from.([]any)
			if key >= len(list) {
				return nil
			}
			from = list[key]
		}
	}
	return from
}

func list(from any, path ...any) []any {
	all, _ := at(from, path...).([]any)
	return all
}

func text(from any, path ...any) string { return fmt.Sprint(at(from, path...)) }

// read reads a YAML file into the value.
func read(t *testing.T, file string, into any) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// functions are those of Helm that the chart uses.
func functions(all *template.Template) template.FuncMap {
	return template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var out strings.Builder
			err := all.ExecuteTemplate(&out, name, data)
			return out.String(), err
		},
		"toYaml": func(value any) (string, error) {
			out, err := yaml.Marshal(value)
			return strings.TrimSuffix(string(out), "\n"), err
		},
		"nindent": func(n int, text string) string {
			return "\n" + strings.Repeat(" ", n) + strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", n))
		},
		"quote": func(value any) string { return fmt.Sprintf("%q", fmt.Sprint(value)) },
		"default": func(otherwise, value any) any {
			return map[bool]any{true: otherwise, false: value}[fmt.Sprint(value) == ""]
		},
		"sha256sum": func(text string) string { sum := sha256.Sum256([]byte(text)); return hex.EncodeToString(sum[:]) },
		"add": func(a, b any) (int, error) {
			var x, y int
			_, err := fmt.Sscan(fmt.Sprint(a, " ", b), &x, &y)
			return x + y, err
		},
	}
}

// merge sets values over those that are there.
func merge(values, over map[string]any) {
	for key, value := range over {
		inner, ok := value.(map[string]any)
		below, there := values[key].(map[string]any)
		if ok && there {
			merge(below, inner)
			continue
		}
		values[key] = value
	}
}

// render renders the chart with values over the chart's own, and returns the
// objects by kind and name.
func render(t *testing.T, over string) map[string]object {
	t.Helper()
	values, more, about := map[string]any{}, map[string]any{}, object{}
	read(t, filepath.Join(chart, "values.yaml"), &values)
	read(t, filepath.Join(chart, "Chart.yaml"), &about)
	if err := yaml.Unmarshal([]byte(over), &more); err != nil {
		t.Fatal(err)
	}
	merge(values, more)
	data := map[string]any{
		"Values": values, "Release": map[string]any{"Name": "parley", "Service": "Helm"},
		"Chart": map[string]any{"AppVersion": about["appVersion"]},
	}
	all := template.New("chart").Option("missingkey=error")
	all.Funcs(functions(all))
	template.Must(all.ParseGlob(filepath.Join(chart, "templates", "*")))
	objects := map[string]object{}
	for _, file := range all.Templates() {
		if filepath.Ext(file.Name()) != ".yaml" {
			continue
		}
		var out bytes.Buffer
		if err := file.Execute(&out, data); err != nil {
			t.Fatal(err)
		}
		for _, document := range regexp.MustCompile(`(?m)^---$`).Split(out.String(), -1) {
			var o object
			if err := yaml.UnmarshalWithOptions([]byte(document), &o, yaml.Strict()); err != nil {
				t.Fatalf("%s: %v\n%s", file.Name(), err, document)
			}
			if o != nil {
				objects[text(o, "kind")+" "+text(o, "metadata", "name")] = o
			}
		}
	}
	return objects
}

// everything is set, with secrets by their names.
const everything = `
nats:
  credentials: {worker: {secret: nats-worker}, edge: {secret: nats-edge}}
  ca: {secret: nats-ca}
sites:
  shop: {app_id: s0a1b2c3d-0000-4000-8000-000000000001, domains: [shop.example.test]}
rules:
  greet.yaml: "name: greet"
ingest:
  sources: {web: {type: plain, site: shop, token: ["file:/etc/parley/ingest/web.token"]}}
  secret: parley-ingest
worker: {autoscaled: true, nodeSelector: {disk: fast}, tolerations: [{key: chrome, operator: Exists}]}
`

func TestTheChartHasItsObjects(t *testing.T) {
	t.Parallel()
	want := []string{
		"ConfigMap parley-config", "ConfigMap parley-rules", "Deployment parley-edge",
		"Deployment parley-worker", "PodDisruptionBudget parley-worker", "Service parley-worker",
	}
	if got := slices.Sorted(maps.Keys(render(t, "{}"))); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	want = slices.Insert(want, 5, "Service parley-edge") // Something sends events.
	if got := slices.Sorted(maps.Keys(render(t, everything))); !slices.Equal(got, want) {
		t.Errorf("with everything: got %q, want %q", got, want)
	}
	if objects := render(t, "edge: {enabled: false}"); objects["Deployment parley-edge"] != nil || objects["Deployment parley-worker"] == nil {
		t.Errorf("without the edge: %q", slices.Sorted(maps.Keys(objects)))
	}
}

// TestTheProgramAcceptsTheConfiguration loads the rendered parley.yaml with the
// container's environment, as the worker does.
func TestTheProgramAcceptsTheConfiguration(t *testing.T) {
	t.Parallel()
	catalog, err := app.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	for _, values := range []string{"{}", everything} {
		objects := render(t, values)
		file := filepath.Join(t.TempDir(), app.ConfigFile)
		if err := os.WriteFile(file, []byte(text(objects["ConfigMap parley-config"], "data", "parley.yaml")), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Deployment parley-worker", "Deployment parley-edge"} {
			env := app.Env{}
			for _, variable := range list(objects[name], "spec", "template", "spec", "containers", 0, "env") {
				env[text(variable, "name")] = "pod-1"
				if value := at(variable, "value"); value != nil {
					env[text(variable, "name")] = fmt.Sprint(value)
				}
			}
			cfg, err := app.LoadConfig(file, env, catalog)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if len(cfg.Warnings) > 0 {
				t.Errorf("%s: %q", name, cfg.Warnings)
			}
			if name == "Deployment parley-worker" && (cfg.Worker.Name != "pod-1" || cfg.Bus.Replicas != 3 || cfg.Sessions.Key == "") {
				t.Errorf("the worker is configured as %+v", cfg)
			}
		}
	}
}

// TestTheEdgeTakesEvents: with a source the edge serves, on the ports that the
// probes and the service look for, and the workers leave it to the edge.
func TestTheEdgeTakesEvents(t *testing.T) {
	t.Parallel()
	objects := render(t, everything)
	container := at(objects["Deployment parley-edge"], "spec", "template", "spec", "containers", 0)
	args := []string{}
	for _, arg := range list(container, "args") {
		args = append(args, fmt.Sprint(arg))
	}
	var out bytes.Buffer
	if code := app.Publisher(t.Context(), app.Process{Args: append(slices.Clone(args), "--help"), Env: app.Env{}, Stdout: &out, Stderr: &out}); code != 0 || args[0] != "serve" {
		t.Errorf("the program does not know %q: %s", args, &out)
	}
	ports := map[string]string{}
	for _, port := range list(container, "ports") {
		ports[text(port, "name")] = text(port, "containerPort")
	}
	if !slices.Contains(args, "0.0.0.0:"+ports["events"]) || !slices.Contains(args, "0.0.0.0:"+ports["telemetry"]) {
		t.Errorf("it listens as %q, and its ports are %v", args, ports)
	}
	for _, probe := range []string{text(container, "readinessProbe", "httpGet", "port"), text(container, "livenessProbe", "tcpSocket", "port"), text(objects["Service parley-edge"], "spec", "ports", 0, "targetPort")} {
		if ports[probe] == "" {
			t.Errorf("something looks for the port %s, and there are %v", probe, ports)
		}
	}
	if config := text(objects["ConfigMap parley-config"], "data", "parley.yaml"); !strings.Contains(config, "- actions") || strings.Contains(config, "- ingest") || strings.Contains(config, "listen:") {
		t.Errorf("the workers would take events too:\n%s", config)
	}
	if arg := text(render(t, "{}")["Deployment parley-edge"], "spec", "template", "spec", "containers", 0, "args", 0); arg != "tail" {
		t.Errorf("without a source the edge begins with %s", arg)
	}
}

// TestAWorkerEndsInPeace: it drains first, has the time for it, and is not killed
// because NATS is away.
func TestAWorkerEndsInPeace(t *testing.T) {
	t.Parallel()
	pod := at(render(t, everything)["Deployment parley-worker"], "spec", "template", "spec")
	container := at(pod, "containers", 0)
	command := text(container, "lifecycle", "preStop", "exec", "command", 2)
	match := regexp.MustCompile(`^worker (drain) "\$PARLEY_WORKER_NAME" (--timeout) (\d+)s \|\| true$`).FindStringSubmatch(command)
	if match == nil {
		t.Fatalf("before the end it runs %q", command)
	}
	var out bytes.Buffer
	if code := app.Worker(t.Context(), app.Process{Args: []string{match[1], "w", match[2], match[3] + "s", "--help"}, Env: app.Env{}, Stdout: &out, Stderr: &out}); code != 0 {
		t.Errorf("the program does not know that: %s", &out)
	}
	var grace, drain, end int
	configured := regexp.MustCompile(`grace: (\d+)s`).FindStringSubmatch(text(render(t, everything)["ConfigMap parley-config"], "data", "parley.yaml"))
	if configured == nil {
		t.Fatal("the configuration has no grace")
	}
	_, err := fmt.Sscan(strings.Join([]string{configured[1], match[3], text(pod, "terminationGracePeriodSeconds")}, " "), &grace, &drain, &end)
	if err != nil || drain < grace || end <= drain {
		t.Errorf("running actions get %d s, the drain %d s, and the pod %d s: %v", grace, drain, end, err)
	}
	if path := text(container, "readinessProbe", "httpGet", "path"); path != "/healthz" {
		t.Errorf("it is ready by %s", path)
	}
	if at(container, "livenessProbe", "httpGet") != nil || at(container, "livenessProbe", "tcpSocket") == nil {
		t.Error("it is started anew when NATS is away")
	}
	port := text(container, "ports", 0, "name")
	for _, probe := range [][]any{{"readinessProbe", "httpGet"}, {"startupProbe", "httpGet"}, {"livenessProbe", "tcpSocket"}} {
		if got := text(container, append(probe, "port")...); got != port {
			t.Errorf("%v asks the port %s, and there is %s", probe, got, port)
		}
	}
	if at(container, "resources", "limits", "memory") == nil || at(container, "securityContext", "readOnlyRootFilesystem") != true {
		t.Error("it has no limit of memory, or may write to its image")
	}
}

// TestSecretsAreNamesOnly: the chart holds none, and mounts those that it names
// where the configuration looks for them.
func TestSecretsAreNamesOnly(t *testing.T) {
	t.Parallel()
	objects := render(t, everything)
	for name, o := range objects {
		if at(o, "kind") == "Secret" || at(o, "stringData") != nil {
			t.Errorf("%s holds a secret", name)
		}
	}
	for _, name := range []string{"Deployment parley-worker", "Deployment parley-edge"} {
		pod := at(objects[name], "spec", "template", "spec")
		volumes := map[string]bool{}
		secrets := 0
		for _, volume := range list(pod, "volumes") {
			volumes[text(volume, "name")] = true
			if at(volume, "secret", "secretName") != nil {
				secrets++
			}
		}
		if want := map[string]int{"Deployment parley-worker": 3, "Deployment parley-edge": 3}[name]; secrets != want {
			t.Errorf("%s mounts %d secrets, want %d", name, secrets, want)
		}
		for _, mount := range list(pod, "containers", 0, "volumeMounts") {
			if !volumes[text(mount, "name")] {
				t.Errorf("%s mounts %s, which is no volume", name, text(mount, "name"))
			}
		}
	}
}

// TestSelectorsFindThePods compares the labels.
func TestSelectorsFindThePods(t *testing.T) {
	t.Parallel()
	objects := render(t, everything)
	pods := at(objects["Deployment parley-worker"], "spec", "template", "metadata", "labels")
	others := at(objects["Deployment parley-edge"], "spec", "template", "metadata", "labels")
	for name, selector := range map[string]any{
		"deployment": at(objects["Deployment parley-worker"], "spec", "selector", "matchLabels"),
		"budget":     at(objects["PodDisruptionBudget parley-worker"], "spec", "selector", "matchLabels"),
		"service":    at(objects["Service parley-worker"], "spec", "selector"),
	} {
		labels, _ := selector.(map[string]any)
		mine, theirs := len(labels) > 0, true
		for key, value := range labels {
			mine = mine && at(pods, key) == value
			theirs = theirs && at(others, key) == value
		}
		if !mine || theirs {
			t.Errorf("the selector of the %s finds the workers: %t, the edge: %t", name, mine, theirs)
		}
	}
	if at(objects["Deployment parley-worker"], "spec", "replicas") != nil {
		t.Error("the chart and the autoscaler both set the number of workers")
	}
	if text(render(t, "{}")["Deployment parley-worker"], "spec", "replicas") != "3" {
		t.Error("nobody sets the number of workers")
	}
}

// TestTheAutoscalerFitsTheChart: it scales what the chart makes, by metrics that
// the program has.
func TestTheAutoscalerFitsTheChart(t *testing.T) {
	t.Parallel()
	var scaler object
	read(t, "keda/scaledobject.yaml", &scaler)
	target := text(scaler, "spec", "scaleTargetRef", "kind") + " " + text(scaler, "spec", "scaleTargetRef", "name")
	if render(t, everything)[target] == nil {
		t.Errorf("there is no %s", target)
	}
	least, most := text(scaler, "spec", "minReplicaCount"), text(scaler, "spec", "maxReplicaCount")
	if least != "2" || len(most) > 2 || most > "64" {
		t.Errorf("it scales from %s to %s", least, most)
	}
	known := metrics(t)
	for _, trigger := range list(scaler, "spec", "triggers") {
		if text(trigger, "type") != "prometheus" {
			t.Errorf("the trigger %s: the consumers' names change, so only metrics are sure", text(trigger, "type"))
		}
		names := regexp.MustCompile(`parley_[a-z_]+`).FindAllString(text(trigger, "metadata", "query"), -1)
		if len(names) == 0 {
			t.Errorf("the query %q has no metric of ours", text(trigger, "metadata", "query"))
		}
		for _, name := range names {
			if !slices.Contains(known, name) {
				t.Errorf("no metric is called %s", name)
			}
		}
	}
}

// TestThePageNamesRealMetrics: an alarm on a metric that is not there never
// rings.
func TestThePageNamesRealMetrics(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/production.md")
	if err != nil {
		t.Fatal(err)
	}
	known := metrics(t)
	names := regexp.MustCompile(`parley_[a-z_]+`).FindAllString(string(page), -1)
	if len(names) < 5 {
		t.Errorf("the page names %q only", names)
	}
	for _, name := range names {
		if !slices.Contains(known, name) && !slices.Contains(known, strings.TrimSuffix(name, "_bucket")) {
			t.Errorf("no metric is called %s", name)
		}
	}
}

// metrics returns the names of the metrics in the code.
func metrics(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"../internal/app/*.go", "../internal/telemetry/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("there are no files %s: %v", pattern, err)
		}
		for _, file := range files {
			code, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range regexp.MustCompile(`"(parley_[a-z_]+)"`).FindAllStringSubmatch(string(code), -1) {
				all = append(all, match[1])
			}
		}
	}
	return all
}
