#!/usr/bin/env bash
# Installs Chromium from Debian's packages when it is missing. Without an
# argument: the headless shell and its sandbox, which is what a worker runs. With
# "full": also the whole browser, which only the benchmarks run.
set -euo pipefail

dir=/usr/lib/chromium
want=()
[[ -x $dir/chromium-headless-shell ]] || want+=(chromium-headless-shell)
[[ -e $dir/chrome-sandbox ]] || want+=(chromium-sandbox)
[[ ${1:-} != full || -x $dir/chromium ]] || want+=(chromium)
[[ ${#want[@]} -gt 0 ]] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "Chromium is missing, and this system has no apt-get." >&2
	echo "Install Chromium yourself, and set PARLEY_BROWSER_BINARY to its program." >&2
	exit 1
fi
root=()
if [[ $(id -u) -ne 0 ]]; then
	if ! command -v sudo >/dev/null; then
		echo "Chromium is missing. As root, run: apt-get install --no-install-recommends ${want[*]}" >&2
		exit 1
	fi
	root=(sudo)
fi
echo "installing ${want[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
# The lists may be there already, and may be old: they are fetched again only
# when they do not do.
install() { "${root[@]}" apt-get install -y -qq --no-install-recommends "${want[@]}" >&2; }
install || { "${root[@]}" apt-get update -qq >&2 && install; }
