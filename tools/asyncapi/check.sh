#!/usr/bin/env bash
# Checks schemas/asyncapi.yaml with the official AsyncAPI parser, and that this
# check can fail. Needs node and npm.
set -euo pipefail

cd "$(dirname "$0")"
if [[ ! node_modules/.package-lock.json -nt package-lock.json ]]; then
	npm ci --no-audit --no-fund --loglevel=error
	touch node_modules/.package-lock.json
fi
node check.mjs ../../schemas/asyncapi.yaml
if [[ ${1-} == --self ]]; then
	node --test --test-reporter=dot check.test.mjs
fi
