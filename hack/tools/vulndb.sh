#!/bin/sh
# Lays out Go's vulnerability database, at the version that hack/tools/vulndb/go.mod pins, as
# govulncheck reads it, in a cache outside the tree, and prints its URL. Does nothing when it is
# cached already. The database is a Go module (golang.org/x/vulndb): the module proxy has it, and
# go.sum vouches for it.
#
#   MILLRACE_CACHE     cache folder, default ${XDG_CACHE_HOME:-~/.cache}/millrace
set -eu

cd "$(dirname "$0")/vulndb"
export GOWORK=off GOFLAGS=-mod=readonly
cache=${MILLRACE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millrace}/vulndb
version=$(go list -m -f '{{.Version}}' golang.org/x/vulndb)
target=$cache/$version

if [ ! -d "$target" ]; then
	echo "laying out the vulnerability database $version: a minute, once" >&2
	mkdir -p "$cache"
	temp=$(mktemp -d "$cache/.build-XXXXXX")
	trap 'rm -rf "$temp"' EXIT
	trap 'exit 130' INT TERM
	go mod download golang.org/x/vulndb >&2
	go tool indexdb -vulns "$(go list -m -f '{{.Dir}}' golang.org/x/vulndb)/data/osv" -out "$temp/db" >&2
	[ -d "$target" ] || mv "$temp/db" "$target"
fi
echo "file://$target"
