#!/usr/bin/env bash
# Fails when `make generate` changes a file: then a generated file was not
# committed with its source. The new state stays, to be committed.
set -euo pipefail

generated=(schemas docs internal/visitor/snippet/dist)
sums() { find "${generated[@]}" -type f -print0 | sort -z | xargs -0 sha256sum; }

before=$(sums)
"${MAKE:-make}" --no-print-directory generate
after=$(sums)
if [[ $before != "$after" ]]; then
	echo "these generated files were stale; commit them:" >&2
	diff <(echo "$before") <(echo "$after") | awk '/^[<>]/ { print "  " $3 }' | sort -u >&2
	exit 1
fi
