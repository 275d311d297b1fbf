#!/usr/bin/env bash
# Measures other encodings and compressions on the frames of BenchmarkHops. The arguments go to
# `go test`, such as -bench Compression.
#
# The code of vtprotobuf is made from event.proto into a temporary folder and laid over the package of
# the generated code for this one build: the tree has none of it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/frames" "$work/api/event/v1"

cd "$root"
go test -run '^$' -bench Hops -benchtime 1x ./test/bench -args -frames "$work/frames"

cp api/event/v1/event.proto "$work/api/event/v1/"
(cd "$here" && go build -o "$work/protoc-gen-go-vtproto" github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto)
package=millrace.dev/millrace/api/event/v1
"$(hack/tools/build.sh protogen)" -root "$work" -plugin "$work/protoc-gen-go-vtproto" \
	-parameter "pool=$package.Frame,pool=$package.Event" api/event/v1/event.proto
generated=api/event/v1/event_vtproto.pb.go
printf '{"Replace": {"%s": "%s"}}\n' "$root/$generated" "$work/$generated" >"$work/overlay.json"

cd "$here"
go test -overlay "$work/overlay.json" -run '^$' -bench . -cpu 1 "$@" . -args -frames "$work/frames"
