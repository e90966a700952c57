#!/usr/bin/env bash
# Prints how many lines of tests there are for each line of code. Generated
# files, examples' data and nested modules do not count.
set -euo pipefail

count() { xargs -0 cat -- | wc -l; }
files() { git ls-files -z -- 'cmd/*.go' 'internal/*.go' 'schemas/*.go' '*_test.go' ':!:tools/' ':!:bench/peers/'; }
code=$(files | grep -zv '_test\.go$' | grep -zv '_gen\.go$' | count)
tests=$(files | grep -z '_test\.go$' | count)
scripts=$(git ls-files -z -- '*.txtar' | count)
awk -v c="$code" -v t="$((tests + scripts))" \
	'BEGIN { printf "lines of code %d, of tests %d: %.2f for one (aim 1.20)\n", c, t, c ? t / c : 0 }'
