#!/bin/sh
# Generates from the code what is kept in the tree: deep copies, apply configurations, definitions and the tables of
# conditions from api/v1alpha1, the operator's rules from controllers, and the chart's copies.
#
# hack/crd takes out the descriptions of conditions and resources, which Kubernetes documents itself; ours stay whole.
# config/crd bounds the size of each definition.
set -eu
cd "$(dirname "$0")/.."
gen=$(hack/tools/build.sh controller-gen)
"$gen" object applyconfiguration crd paths=./api/v1alpha1/ output:crd:dir=config/crd/bases
go run ./hack/crd config/crd/bases/*.yaml
go run ./hack/conditions api/v1alpha1/conditions.go docs/operator.md
"$gen" rbac:roleName=millrace-operator paths=./controllers/... output:rbac:dir=config/rbac
hack/chart/sync.sh
