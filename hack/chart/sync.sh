#!/bin/sh
# Copies the generated definitions, the operator's rules, its admission policy and values.yaml into the files of the chart.
# test/chart fails when they differ.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
files=$root/charts/millrace/files
mkdir -p "$files/crds" "$files/rbac"
rm -f "$files"/crds/*.yaml
cp "$root"/config/crd/bases/*.yaml "$files/crds/"
cp "$root/config/rbac/role.yaml" "$root/config/rbac/admission_policy.yaml" "$files/rbac/"
cp "$root/charts/millrace/values.yaml" "$files/values.yaml"
