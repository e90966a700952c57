package ingesttest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Report is what a client says of one event that it has sent.
type Report struct {
	ID    string `json:"id"`
	Kind  string `json:"kind"`
	OK    bool   `json:"ok"`
	Error string `json:"error"`
}

// folder is where the clients are, from the folder of any source.
const folder = "../ingesttest/clients"

// patience is how long a client may take.
const patience = 90 * time.Second

// RunNode runs a script of the folder clients against the address: the vendor's
// own client for Node sends count events of every kind. The test is skipped, with
// the reason, where Node or the packages are not installed.
func RunNode(t testing.TB, script, url, key string, count int) []Report {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skipf("node is not installed, so the client of %s is not tried", script)
	}
	if _, err := os.Stat(filepath.Join(folder, "node_modules")); err != nil {
		t.Skipf("the clients' packages are not installed, so %s is not tried: run make clients", script)
	}
	return run(t, node, filepath.Join(folder, script), url, key, strconv.Itoa(count))
}

// RunGo is RunNode for the Go client of a vendor: segment or posthog.
func RunGo(t testing.TB, vendor, url, key string, count int) []Report {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "gosdk")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".") //nolint:gosec // the test's own folder.
	build.Dir = filepath.Join(folder, "gosdk")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the Go clients: %v\n%s", err, out)
	}
	return run(t, binary, vendor, url, key, strconv.Itoa(count))
}

func run(t testing.TB, name string, args ...string) []Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, name, args...) //nolint:gosec // the clients are ours to run.
	var says bytes.Buffer
	command.Stderr = &says
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s\n%s", name, args, err, out, says.String())
	}
	var reports []Report
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		var one Report
		if json.Unmarshal(lines.Bytes(), &one) == nil && one.ID != "" { // The clients say other things too.
			reports = append(reports, one)
		}
	}
	return reports
}
