#!/bin/sh
# Builds one pinned Go tool into a cache outside the tree and prints the path of the binary.
# Does nothing when it is cached already, so a Makefile may call it before every use.
#
#   hack/tools/build.sh golangci-lint | helm | kustomize | nats | controller-gen | protoc-gen-go | protogen |
#                       keda-operator | keda-metrics-apiserver | prometheus-adapter
#
# The last three are what `make e2e` scales by; nothing else needs them.
#
#   MILLRACE_CACHE     cache folder, default ${XDG_CACHE_HOME:-~/.cache}/millrace
#   MILLRACE_BUILD_P   packages compiled in parallel, default 2
#
# The folder's name is a hash over everything the binary depends on: the tool's go.mod and go.sum,
# our own sources beside them, this script, the Go release and the platform.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
name=${1:-}

# pinned MODULE: the version of MODULE in the go.mod of the tool.
pinned() { (cd "$module" && GOWORK=off GOFLAGS= go list -m -f '{{.Version}}' "$1"); }

ldflags='-s -w'
case $name in
golangci-lint) module=$here/lint package=./golangci-lint ;;
helm) module=$here/deploy package=helm.sh/helm/v4/cmd/helm ;;
kustomize) module=$here/deploy package=sigs.k8s.io/kustomize/kustomize/v5 ;;
controller-gen) module=$here package=sigs.k8s.io/controller-tools/cmd/controller-gen ;;
nats) module=$here/nats package=github.com/nats-io/natscli/nats ;;
protoc-gen-go) module=$here package=google.golang.org/protobuf/cmd/protoc-gen-go ;;
protogen) module=$here package=./protogen ;;
keda-operator) module=$here/keda package=github.com/kedacore/keda/v2/cmd/operator ;;
keda-metrics-apiserver) module=$here/keda package=github.com/kedacore/keda/v2/cmd/adapter ;;
prometheus-adapter) module=$here/prometheus-adapter package=sigs.k8s.io/prometheus-adapter/cmd/adapter ;;
*)
	echo "usage: hack/tools/build.sh golangci-lint|helm|kustomize|nats|controller-gen|protoc-gen-go|protogen|keda-operator|keda-metrics-apiserver|prometheus-adapter" >&2
	exit 2
	;;
esac

if command -v sha256sum >/dev/null 2>&1; then sum=sha256sum; else sum='shasum -a 256'; fi
inputs() {
	cat "$module/go.mod" "$module/go.sum" "$here/build.sh"
	case $package in ./*) cat "$module/$package"/*.go ;; esac
	go env GOVERSION GOHOSTOS GOHOSTARCH
}
hash=$(inputs | $sum | cut -c1-12)
cache=${MILLRACE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millrace}/tools
target=$cache/$hash/$name

if [ -x "$target" ]; then
	echo "$target"
	exit 0
fi

# nats is what people type, with the version that it reports.
if [ "$name" = nats ]; then
	ldflags="$ldflags -X main.version=$(pinned github.com/nats-io/natscli)"
fi

# helm reports, and checks charts against, the version that the linker gives it.
if [ "$name" = helm ]; then
	version=$(pinned helm.sh/helm/v4)
	ldflags="$ldflags -X helm.sh/helm/v4/internal/version.version=$version"
	ldflags="$ldflags -X helm.sh/helm/v4/internal/version.gitTreeState=clean"
fi

mkdir -p "$cache/$hash"
# Only one builder at a time; the second one finds the result of the first.
if command -v flock >/dev/null 2>&1; then
	exec 9>"$cache/$hash/.lock"
	flock 9
	if [ -x "$target" ]; then
		echo "$target"
		exit 0
	fi
fi
temp=$(mktemp -d "$cache/$hash/.build-XXXXXX")
trap 'rm -rf "$temp"' EXIT
trap 'exit 130' INT TERM

echo "building $name: minutes on 2 cores, once" >&2
(cd "$module" && CGO_ENABLED=0 GOWORK=off GOFLAGS= GOOS=$(go env GOHOSTOS) GOARCH=$(go env GOHOSTARCH) nice -n 10 \
	go build -p "${MILLRACE_BUILD_P:-2}" -mod=readonly -trimpath -buildvcs=false -ldflags "$ldflags" -o "$temp/$name" "$package") >&2
mv "$temp/$name" "$target"
echo "$target"
