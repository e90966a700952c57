//go:build browser

package app

import (
	"bytes"
	"errors"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// build builds the binaries that are named, into a directory of the test.
func build(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		out, err := exec.CommandContext(t.Context(), "go", "build", "-o", dir+"/", "github.com/parley-chat/parley/cmd/"+name).CombinedOutput()
		if err != nil {
			t.Fatalf("building %s: %v\n%s", name, err, out)
		}
	}
	return dir
}

// TestDemo runs the newcomer's first command with the real binaries, and reads
// what it shows.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := build(t, "worker", "publisher")
	var out, problems bytes.Buffer
	command := exec.CommandContext(t.Context(), filepath.Join(dir, "worker"), "dev", "--demo")
	command.Dir, command.Stdout, command.Stderr = t.TempDir(), &out, &problems
	if err := command.Run(); err != nil {
		t.Fatalf("the demo ended with %v\n%s%s", err, out.String(), problems.String())
	}
	if problems.Len() > 0 {
		t.Errorf("the demo complains:\n%s", problems.String())
	}
	rest := out.String()
	for _, step := range []string{
		`✓ NATS with JetStream`, `✓ Chromium`,
		`\$ publisher track 'Pricing Viewed'`,
		`trigger +shop/\w+ +Pricing Viewed +plan=pro`,
		`result +shop/\w+ +botstar.widget.boot +verified`,
		`result +shop/\w+ +botstar.widget.update +done, unverifiable`,
		`✓ the vendor's own ledger has the update +email=ada@example.test plan_of_interest=pro`,
		`\$ publisher send botstar.widget.close`,
		`result +shop/\w+ +botstar.widget.close +verified`,
		`It works in [0-9.]+s`,
	} {
		at := regexp.MustCompile(step).FindStringIndex(rest)
		if at == nil {
			t.Fatalf("the demo does not show, in this order, %s:\n%s", step, out.String())
		}
		rest = rest[at[1]:]
	}
	for _, once := range []string{"botstar.widget.open +verified", "widget.opened +cause api", "widget.closed +cause api"} {
		if n := len(regexp.MustCompile(once).FindAllString(out.String(), -1)); n != 1 {
			t.Errorf("the demo shows %q %d times, want once:\n%s", once, n, out.String())
		}
	}
	after := regexp.MustCompile(`the widget was open after ([0-9.]+)s`).FindStringSubmatch(out.String())
	if seconds, err := strconv.ParseFloat(after[1], 64); err != nil || seconds > 20 {
		t.Errorf("the widget was open after %s s, want less than 20", after[1])
	}
	checkPicture(t, filepath.Join(command.Dir, ".parley", "demo", "widget-opened.png"))
}

// checkPicture checks that the picture shows something.
func checkPicture(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	picture, err := png.Decode(f)
	if err != nil {
		t.Fatalf("reading the picture: %v", err)
	}
	bounds, colours := picture.Bounds(), map[any]bool{}
	for x := bounds.Min.X; x < bounds.Max.X; x += 8 {
		for y := bounds.Min.Y; y < bounds.Max.Y; y += 8 {
			colours[picture.At(x, y)] = true
		}
	}
	if bounds.Dx() < 400 || bounds.Dy() < 400 || len(colours) < 20 {
		t.Errorf("the picture has %v and %d colours", bounds, len(colours))
	}
}

// TestDemoWithoutPublisher shows that a demo that cannot work says so.
func TestDemoWithoutPublisher(t *testing.T) {
	t.Parallel()
	dir := build(t, "worker")
	command := exec.CommandContext(t.Context(), filepath.Join(dir, "worker"), "dev", "--demo")
	command.Dir = t.TempDir()
	out, err := command.CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 1 || !strings.Contains(string(out), "fix: run `make build`") {
		t.Errorf("the demo ended with %v:\n%s", err, out)
	}
}
