#!/bin/sh
# Prints the folder that holds the binaries prometheus and promtool, which tests of alerts run.
# Those on the PATH are taken when they are there. Else the Debian package is downloaded and
# unpacked into the cache: nothing is installed, no service is started, no root is needed.
#
#   hack/prometheus/find.sh
#
#   MILLRACE_CACHE   cache folder, default ${XDG_CACHE_HOME:-~/.cache}/millrace
set -eu

if found=$(command -v prometheus) && command -v promtool >/dev/null; then
	dirname "$found"
	exit 0
fi

cache=${MILLRACE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millrace}/prometheus
bin=$cache/usr/bin
if [ -x "$bin/prometheus" ] && [ -x "$bin/promtool" ]; then
	echo "$bin"
	exit 0
fi

if ! command -v apt-get >/dev/null; then
	echo "prometheus and promtool are missing: put them on the PATH (https://prometheus.io/download, or your packages)" >&2
	exit 1
fi
mkdir -p "$cache"
temp=$(mktemp -d "$cache/.get-XXXXXX")
trap 'rm -rf "$temp"' EXIT
trap 'exit 130' INT TERM
echo "downloading the Debian package prometheus, once" >&2
# A new machine has no package lists yet; reading them needs root.
(cd "$temp" && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; }) >&2
dpkg-deb -x "$temp"/prometheus_*.deb "$temp/root"
"$temp/root/usr/bin/prometheus" --version >/dev/null
"$temp/root/usr/bin/promtool" --version >/dev/null
rm -rf "$cache/usr"
mv "$temp/root/usr" "$cache/usr"
echo "$bin"
