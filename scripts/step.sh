#!/usr/bin/env bash
# Runs one step of `make check`: names it, runs it, and says how long it took.
# Usage: step.sh <name> <command> [argument...]
set -euo pipefail

name=$1
shift
echo "== $name: $*"
start=$SECONDS
if "$@"; then
	echo "-- $name: ok, $((SECONDS - start)) s"
else
	code=$?
	echo "-- $name: FAILED with code $code after $((SECONDS - start)) s" >&2
	exit "$code"
fi
