#!/bin/sh
# Builds an earlier commit of Millrace into a cache outside the tree, and prints the folder that holds it: the binary millrace and
# the chart charts/millrace, as they were. Does nothing when it is cached already.
#
#   hack/release/build.sh COMMIT
#
#   MILLRACE_CACHE     cache folder, default ${XDG_CACHE_HOME:-~/.cache}/millrace
#   MILLRACE_BUILD_P   packages compiled in parallel, default 2
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
commit=${1:-}
if [ -z "$commit" ]; then
	echo "usage: hack/release/build.sh COMMIT" >&2
	exit 2
fi
if ! full=$(git -C "$root" rev-parse --verify --quiet "$commit^{commit}"); then
	echo "commit $commit is not in this clone, which has a part of the history alone: get the rest with" >&2
	echo "  git fetch --unshallow" >&2
	exit 1
fi

cache=${MILLRACE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millrace}/releases
target=$cache/$full-$(go env GOVERSION)-$(go env GOHOSTOS)-$(go env GOHOSTARCH)
if [ -d "$target" ]; then
	echo "$target"
	exit 0
fi

mkdir -p "$cache"
# Only one builder at a time; the second one finds the result of the first.
if command -v flock >/dev/null 2>&1; then
	exec 9>"$cache/.lock"
	flock 9
	if [ -d "$target" ]; then
		echo "$target"
		exit 0
	fi
fi
temp=$(mktemp -d "$cache/.build-XXXXXX")
trap 'rm -rf "$temp"' EXIT
trap 'exit 130' INT TERM

echo "building Millrace as of $commit: minutes on 2 cores, once" >&2
mkdir "$temp/source" "$temp/release"
git -C "$root" archive "$full" | tar -x -C "$temp/source"
(cd "$temp/source" && CGO_ENABLED=0 GOWORK=off GOFLAGS= GOOS=$(go env GOHOSTOS) GOARCH=$(go env GOHOSTARCH) nice -n 10 \
	go build -p "${MILLRACE_BUILD_P:-2}" -mod=readonly -trimpath -buildvcs=false \
	-ldflags "-X main.version=$(printf %.7s "$full")" -o "$temp/release/millrace" .) >&2
mkdir "$temp/release/charts"
cp -R "$temp/source/charts/millrace" "$temp/release/charts/"
chmod 755 "$temp/release"
mv "$temp/release" "$target"
echo "$target"
