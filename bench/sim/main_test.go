package main

import (
	"bytes"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestQuick is the quick form of the simulation, twice with one seed.
func TestQuick(t *testing.T) {
	t.Parallel()
	var first, second, progress bytes.Buffer
	if code := run([]string{"-quick", "-seed", "7"}, &first, &progress); code != 0 {
		t.Fatalf("exit code %d:\n%s%s", code, &first, &progress)
	}
	if code := run([]string{"-quick", "-seed", "7"}, &second, io.Discard); code != 0 {
		t.Fatalf("exit code %d the second time:\n%s", code, &second)
	}
	if diff := cmp.Diff(first.String(), second.String()); diff != "" {
		t.Errorf("one seed has two reports:\n%s", diff)
	}
	for _, want := range []string{"seed 7", "verdict: 0 lost, 0 twice, 0 out of order, 0 by two owners", "fingerprint "} {
		if !strings.Contains(first.String(), want) {
			t.Errorf("the report has no %q:\n%s", want, &first)
		}
	}
	if !strings.Contains(progress.String(), "of 5m0s") {
		t.Errorf("the progress is %q", &progress)
	}
}

func TestANewSeedIsPrinted(t *testing.T) {
	t.Parallel()
	args := []string{"-quick", "-length", "20s", "-load", "50", "-workers", "3", "-tabs", "5", "-faults", "0"}
	var out, progress, again bytes.Buffer
	if code := run(args, &out, &progress); code != 0 {
		t.Fatalf("exit code %d:\n%s%s", code, &out, &progress)
	}
	line, _, _ := strings.Cut(progress.String(), "\n")
	seed, ok := strings.CutPrefix(line, "seed ")
	if !ok || seed == "0" {
		t.Fatalf("the progress begins with %q, want the seed", line)
	}
	if code := run(append(args, "-seed", seed), &again, io.Discard); code != 0 || again.String() != out.String() {
		t.Errorf("seed %s has another report (exit code %d):\n%s", seed, code, cmp.Diff(out.String(), again.String()))
	}
	if !strings.Contains(out.String(), "3 workers with 5 tabs each") {
		t.Errorf("the flags have no effect:\n%s", &out)
	}
}

// TestTheDocumentIsTrue plays the overload of docs/simulation.md again. When the
// policy or the model have changed, all runs in it are to be made anew.
func TestTheDocumentIsTrue(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" {
		t.Skip("the last digits of a calculation may differ, and with them the run")
	}
	document, err := os.ReadFile("../../docs/simulation.md")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := run([]string{"-quick", "-seed", "1", "-workers", "5", "-faults", "2"}, &out, io.Discard); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, &out)
	}
	_, sites, _ := strings.Cut(out.String(), "\n\n")
	sites, _, _ = strings.Cut(sites, "\n\n")
	if !strings.Contains(string(document), sites) {
		t.Errorf("docs/simulation.md does not hold this run:\n%s", sites)
	}
}

func TestHelpAndBadFlags(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"help", []string{"-h"}, 0, "go run ./bench/sim [flags]"},
		{"unknown", []string{"-sead", "1"}, 2, "-sead"},
		{"not a number", []string{"-seed", "x"}, 2, "invalid value"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out, progress bytes.Buffer
			if code := run(test.args, &out, &progress); code != test.code || !strings.Contains(progress.String(), test.want) {
				t.Errorf("exit code %d, and said %q; want %d and %q", code, &progress, test.code, test.want)
			}
			if out.Len() > 0 {
				t.Errorf("a report was printed: %s", &out)
			}
		})
	}
}
