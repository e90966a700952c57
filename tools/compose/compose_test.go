package compose

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const root = "../.."

// load reads the file strictly: against the schema of the specification, with
// every reference resolved.
func load(t *testing.T, file string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{file}, cli.WithWorkingDirectory(root), cli.WithoutEnvironmentResolution)
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(t.Context())
}

func TestTheFileIsValid(t *testing.T) {
	t.Parallel()
	project, err := load(t, filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"edge", "nats-1", "nats-2", "nats-3", "worker-1", "worker-2"}
	if got := project.ServiceNames(); !slices.Equal(got, want) {
		t.Errorf("the services are %v, want %v", got, want)
	}
	for name, service := range project.Services {
		if service.HealthCheck == nil && name != "edge" {
			t.Errorf("%s has no health check", name)
		}
		for _, volume := range service.Volumes {
			if volume.Type == types.VolumeTypeBind {
				exists(t, volume.Source)
			}
		}
		if service.Build != nil {
			exists(t, filepath.Join(service.Build.Context, service.Build.Dockerfile))
		}
		for _, option := range service.SecurityOpt {
			if profile, ok := strings.CutPrefix(option, "seccomp="); ok {
				exists(t, filepath.Join(root, profile))
			}
		}
		for _, port := range service.Ports {
			if name != "edge" || port.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes the port %s to %q: nothing here has a password", name, port.Published, port.HostIP)
			}
		}
	}
}

// TestMistakesAreFound makes sure that the check can fail.
func TestMistakesAreFound(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string][2]string{
		"an unknown key":      {"restart: unless-stopped", "restrat: unless-stopped"},
		"a wrong type":        {"retries: 20", "retries: many"},
		"an unknown service":  {"worker-1: {condition", "worker-9: {condition"},
		"an unknown network":  {"networks: [bus, web]", "networks: [bus, wab]"},
		"an unknown volume":   {`"nats-1:/data"`, `"nats-9:/data"`},
		"an unknown anchor":   {"<<: *nats\n", "<<: *gnats\n"},
		"a bad health status": {"condition: service_healthy", "condition: service_fine"},
	} {
		text := strings.Replace(string(whole), edit[0], edit[1], 1)
		if text == string(whole) {
			t.Fatalf("%s: %q is not in the file", name, edit[0])
		}
		file := filepath.Join(t.TempDir(), "docker-compose.yml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := load(t, file); err == nil {
			t.Errorf("%s was not found", name)
		}
	}
}

// TestTheProfileOnlyAddsNamespaces holds the seccomp profile to its promise.
func TestTheProfileOnlyAddsNamespaces(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "deploy/docker/seccomp.json"))
	if err != nil {
		t.Fatal(err)
	}
	var profile struct {
		DefaultAction string `json:"defaultAction"`
		Syscalls      []struct {
			Names    []string `json:"names"`
			Action   string   `json:"action"`
			Comment  string   `json:"comment"`
			Includes any      `json:"includes"`
		} `json:"syscalls"`
	}
	if err := json.Unmarshal(text, &profile); err != nil {
		t.Fatal(err)
	}
	if profile.DefaultAction != "SCMP_ACT_ERRNO" {
		t.Errorf("the profile's default is %s, want that everything else is refused", profile.DefaultAction)
	}
	last := profile.Syscalls[len(profile.Syscalls)-1]
	want := []string{"clone", "clone3", "unshare", "setns", "chroot"}
	if !slices.Equal(last.Names, want) || last.Action != "SCMP_ACT_ALLOW" {
		t.Errorf("the last rule is %v %s, want %v allowed", last.Names, last.Action, want)
	}
}

func exists(t *testing.T, file string) {
	t.Helper()
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}
