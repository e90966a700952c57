#!/usr/bin/env bash
# Installs PostgreSQL from Debian's packages when it is missing, for the tests of
# the connector to SQL databases. They start servers of their own; the service of
# the package is not used.
set -euo pipefail

compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && exit 0

if ! command -v apt-get >/dev/null; then
	echo "PostgreSQL is missing, and this system has no apt-get: its tests are skipped." >&2
	exit 0
fi
root=()
if [[ $(id -u) -ne 0 ]]; then
	if ! command -v sudo >/dev/null; then
		echo "PostgreSQL is missing, so its tests are skipped. As root, run: apt-get install --no-install-recommends postgresql" >&2
		exit 0
	fi
	root=(sudo)
fi
echo "installing postgresql" >&2
export DEBIAN_FRONTEND=noninteractive
install() { "${root[@]}" apt-get install -y -qq --no-install-recommends postgresql >&2; }
install || { "${root[@]}" apt-get update -qq >&2 && install; } ||
	echo "PostgreSQL could not be installed, so its tests are skipped." >&2
