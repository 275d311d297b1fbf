#!/bin/sh
# Builds the control-plane binaries of the tests (etcd, kube-apiserver,
# kube-controller-manager, kube-scheduler, kubectl, nats-server) from the
# module test/controlplane into a cache outside the tree, and prints the
# folder that holds them. Does nothing when they are cached already.
#
#   MILLRACE_CACHE      cache folder, default ${XDG_CACHE_HOME:-~/.cache}/millrace
#   KUBEBUILDER_ASSETS  a folder with ready-made binaries: printed as it is
#   MILLRACE_BUILD_P    packages compiled in parallel, default 2
#
# test/harness computes the same folder name (assets.go): change both.
set -eu

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
	echo "$KUBEBUILDER_ASSETS"
	exit 0
fi

here=$(cd "$(dirname "$0")" && pwd)
module=$(cd "$here/../../test/controlplane" && pwd)
cache=${MILLRACE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millrace}/controlplane

k8s=$(sed -n 's/^[[:space:]]*k8s\.io\/kubernetes \(v[0-9.]*\).*/\1/p' "$module/go.mod")
if command -v sha256sum >/dev/null 2>&1; then sum=sha256sum; else sum='shasum -a 256'; fi
hash=$(cat "$module/go.mod" "$module/go.sum" "$here/build.sh" | $sum | cut -c1-12)
os=$(go env GOHOSTOS)
arch=$(go env GOHOSTARCH)
target=$cache/$k8s-$hash-$os-$arch

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

# Without a version, kube-apiserver calls itself v0.0.0-master+$Format:%H$,
# which kubectl refuses to parse.
minor=${k8s#v1.}
minor=${minor%%.*}
version='-s -w'
for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	version="$version -X $p.gitVersion=$k8s -X $p.gitMajor=1 -X $p.gitMinor=$minor"
	version="$version -X $p.gitTreeState=clean -X $p.gitCommit=local -X $p.buildDate=1970-01-01T00:00:00Z"
done

build() { # name package ldflags
	echo "building $1" >&2
	(cd "$module" && CGO_ENABLED=0 GOWORK=off GOOS="$os" GOARCH="$arch" nice -n 10 \
		go build -p "${MILLRACE_BUILD_P:-2}" -mod=readonly -trimpath -ldflags "$3" -o "$temp/$1" "$2") >&2
}

echo "building the control plane into $target: about 8 minutes on 2 cores, once" >&2
build nats-server github.com/nats-io/nats-server/v2 '-s -w'
build etcd go.etcd.io/etcd/server/v3 '-s -w'
build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver "$version"
build kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager "$version"
build kube-scheduler k8s.io/kubernetes/cmd/kube-scheduler "$version"
build kubectl k8s.io/kubernetes/cmd/kubectl "$version"

chmod 755 "$temp"
mv "$temp" "$target"
echo "$target"
