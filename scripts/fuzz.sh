#!/usr/bin/env bash
# Runs every fuzz target of the module, one after another, each for the time
# given as the first argument (30s), or for a number of runs (40000x): with a
# time, Go at times calls its own end a failure (go.dev/issue/48591). Go runs one
# target of one package at a time.
set -euo pipefail

time=${1:-30s}
found=0
while IFS=: read -r file target; do
	found=$((found + 1))
	go test -run='^$' -fuzz="^$target\$" -fuzztime="$time" "./$(dirname "$file")"
done < <(grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' cmd internal schemas |
	sed 's/func //' | sort)
echo "fuzzed $found targets, $time each"
