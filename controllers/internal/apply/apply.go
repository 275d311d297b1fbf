package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"reflect"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// FieldOwner is the name under which the operator applies.
const FieldOwner = client.FieldOwner("millrace-operator")

// Outcome of an Apply.
type Outcome string

// The outcomes.
const (
	Unchanged Outcome = "unchanged"
	Created   Outcome = "created"
	Updated   Outcome = "updated"
)

// appliesKept bounds what an Applier remembers; more objects than that work too, and are
// compared in full at each look.
const appliesKept = 16384

// Applier applies objects and writes statuses, and remembers which objects it has found to be as
// desired and what it wrote. Its methods may be called from any goroutine.
type Applier struct {
	client  client.Client
	seed    maphash.Seed
	known   *lru.Cache[types.UID, remembered]
	written *lru.Cache[types.UID, written]
	now     func() time.Time
}

// remembered: this version of an object was compared with a desired state and is so.
type remembered struct {
	version string
	desired uint64
}

// New returns an Applier with a clock.
func New(c client.Client, now func() time.Time) (*Applier, error) {
	known, err := lru.New[types.UID, remembered](appliesKept)
	if err != nil {
		return nil, err
	}
	statuses, err := lru.New[types.UID, written](appliesKept)
	if err != nil {
		return nil, err
	}
	return &Applier{client: c, seed: maphash.MakeSeed(), known: known, written: statuses, now: now}, nil
}

// Apply applies desired unless the live object is so already; live is nil when there is
// none. Conflicts are forced: the operator is the authority on the fields that it applies.
func (a *Applier) Apply(ctx context.Context, desired runtime.ApplyConfiguration, live client.Object) (Outcome, error) {
	if live == nil || reflect.ValueOf(live).IsNil() {
		return Created, applyAs(ctx, a.client, desired)
	}
	needed, err := a.needed(desired, live)
	if err != nil || !needed {
		return Unchanged, err
	}
	if err := empty(ctx, a.client, desired, live); err != nil {
		return Updated, err
	}
	return Updated, applyAs(ctx, a.client, desired)
}

func (a *Applier) needed(desired runtime.ApplyConfiguration, live client.Object) (bool, error) {
	data, err := json.Marshal(desired)
	if err != nil {
		return false, fmt.Errorf("encode %T: %w", desired, err)
	}
	now := remembered{version: live.GetResourceVersion(), desired: maphash.Bytes(a.seed, data)}
	if seen, ok := a.known.Get(live.GetUID()); ok && seen == now && now.version != "" {
		return false, nil
	}
	needed, err := Needed(desired, live)
	if err == nil && !needed {
		a.known.Add(live.GetUID(), now)
	}
	return needed, err
}

func applyAs(ctx context.Context, c client.Writer, desired runtime.ApplyConfiguration) error {
	return c.Apply(ctx, desired, FieldOwner, client.ForceOwnership)
}

// empty removes, ahead of the apply, what stands in maps that are to become empty. Applying
// {} over a map whose members were applied before leaves null behind, which a CRD refuses.
func empty(ctx context.Context, c client.Writer, desired runtime.ApplyConfiguration, live client.Object) error {
	want, err := toMap(desired)
	if err != nil {
		return err
	}
	fields, err := ownedFields(live.GetManagedFields())
	if err != nil {
		return err
	}
	patch := emptied(want, fields)
	if len(patch) == 0 {
		return nil
	}
	data, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	object, ok := live.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copy of %T", live)
	}
	return c.Patch(ctx, object, client.RawPatch(types.MergePatchType, data), FieldOwner)
}

// Needed reports whether applying desired would change the live object: whether the fields
// that FieldOwner applied last differ from the desired ones, in name or in value.
func Needed(desired runtime.ApplyConfiguration, live client.Object) (bool, error) {
	want, err := toMap(desired)
	if err != nil {
		return false, err
	}
	fields, err := ownedFields(live.GetManagedFields())
	if err != nil {
		return false, err
	}
	if fields == nil {
		return true, nil
	}
	have, err := toMap(live)
	if err != nil {
		return false, err
	}
	dropIdentity(want)
	return !reflect.DeepEqual(extract(have, fields, want), any(want)), nil
}

// ownedFields are the fields that FieldOwner applied last, as a FieldsV1 tree; nil when it
// never did.
func ownedFields(entries []metav1.ManagedFieldsEntry) (map[string]any, error) {
	for _, e := range entries {
		if e.Manager != string(FieldOwner) || e.Operation != metav1.ManagedFieldsOperationApply || e.Subresource != "" || e.FieldsV1 == nil {
			continue
		}
		var fields map[string]any
		if err := json.Unmarshal(e.FieldsV1.GetRawBytes(), &fields); err != nil {
			return nil, fmt.Errorf("read managed fields: %w", err)
		}
		return fields, nil
	}
	return nil, nil
}

// dropIdentity removes what every apply names and no manager owns.
func dropIdentity(object map[string]any) {
	delete(object, "apiVersion")
	delete(object, "kind")
	if metadata, ok := object["metadata"].(map[string]any); ok {
		delete(metadata, "name")
		delete(metadata, "namespace")
	}
}

func toMap(v any) (map[string]any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("decode %T: %w", v, err)
	}
	return m, nil
}
