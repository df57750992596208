#!/usr/bin/env bash
# Who scaled a Deployment is read from managedFields: `kubectl scale`, an autoscaler and every other user of the scale
# subresource leave an entry there that owns f:replicas. Not when they scale to 0.
#
# Versions: k8s.io/api and k8s.io/apimachinery 0.37.2, the libraries with which an API server keeps the managedFields of
# a Deployment through its scale subresource (NewScaleHandler, and a field manager of Scale).
# Seen: a Scale with 3 replicas makes the entry "scaler" own f:spec.f:replicas of the Deployment; one with 0 makes no
# entry, and takes away the one that was there. Spec.Replicas of a Scale is omitted from JSON when it is 0, and what is
# omitted is owned by nobody. A Deployment's own replicas is a pointer: 0 stays there, with no owner at all.
# So: "nobody owns replicas, then the number is ours to set" undoes a scale to 0 at once. A number that differs from what
# was applied last, and that nobody owns, is somebody's 0.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >go.mod <<'MOD'
module finding

go 1.26.0

require (
	k8s.io/api v0.37.2
	k8s.io/apimachinery v0.37.2
	sigs.k8s.io/structured-merge-diff/v6 v6.4.2
)
MOD

cat >main.go <<'GO'
package main

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

type noDefaults struct{}

func (noDefaults) Default(runtime.Object) {}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// The entries that own the number, by manager.
func owners(entries []metav1.ManagedFieldsEntry) string {
	found := []string{}
	for _, entry := range entries {
		if entry.FieldsV1 != nil && strings.Contains(string(entry.FieldsV1.Raw), "f:replicas") {
			found = append(found, entry.Manager+"/"+entry.Subresource)
		}
	}
	return strings.Join(found, ",")
}

func main() {
	scheme := runtime.NewScheme()
	must(autoscalingv1.AddToScheme(scheme))
	kind := schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}
	fields, err := managedfields.NewDefaultFieldManager(
		managedfields.NewDeducedTypeConverter(), scheme, noDefaults{}, scheme, kind, kind.GroupVersion(), "scale", nil)
	must(err)
	paths := managedfields.ResourcePathMappings{"apps/v1": fieldpath.MakePathOrDie("spec", "replicas")}
	version := appsv1.SchemeGroupVersion

	// A Deployment of which nobody owns the number yet.
	number := int32(2)
	deployment := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: &number}}
	for _, wanted := range []int32{3, 0, 4} {
		handler := managedfields.NewScaleHandler(deployment.ManagedFields, version, paths)
		before, err := handler.ToSubresource()
		must(err)
		scale := func(replicas int32) *autoscalingv1.Scale {
			scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}
			scale.APIVersion, scale.Kind = "autoscaling/v1", "Scale"
			scale.Name, scale.ManagedFields = "web", before
			return scale
		}
		updated, err := fields.Update(scale(*deployment.Spec.Replicas), scale(wanted), "scaler")
		must(err)
		entries, err := handler.ToParent(updated.(*autoscalingv1.Scale).ManagedFields)
		must(err)
		replicas := wanted
		deployment.Spec.Replicas, deployment.ManagedFields = &replicas, entries
		fmt.Printf("scaled to %d: owned by [%s]\n", *deployment.Spec.Replicas, owners(entries))
	}
}
GO

go mod tidy >/dev/null 2>&1
seen=$(go run .)
echo "$seen"
wanted='scaled to 3: owned by [scaler/scale]
scaled to 0: owned by []
scaled to 4: owned by [scaler/scale]'
if [[ $seen != "$wanted" ]]; then
  echo "this is no longer so; expected:" >&2
  echo "$wanted" >&2
  exit 1
fi
