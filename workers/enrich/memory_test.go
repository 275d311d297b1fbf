package enrich

import (
	"fmt"
	"runtime"
	"testing"

	"millrace.dev/millrace/workers/event"
)

// An entry of the cache has a budget, so that maxEntries says how much memory it costs.
func TestMemoryOfAnEntry(t *testing.T) {
	const n, budget = 5000, 4096
	entries := make([]*entry, n)
	before := heap()
	for i := range entries {
		name := fmt.Sprintf("checkout-6d5f7c9b8d-%05d", i)
		in := func(kind, name string) event.EntityRef {
			return event.EntityRef{Kind: kind, Namespace: "shop", Name: name, UID: "7d0e4f5c-1111-4c5e-9c39-0123456789ab", APIVersion: "apps/v1"}
		}
		f := &Facts{
			Entity: in("Pod", name), Pod: &PodFacts{IP: "10.0.0.1", Start: 1, Labels: make([]Label, 8)},
			Owners: []event.EntityRef{in("ReplicaSet", "checkout-6d5f7c9b8d"), in("Deployment", "checkout")}, Workload: in("Deployment", "checkout"),
			Node: in("Node", "node-1"), Services: []event.EntityRef{in("Service", "checkout")},
			ClusterUID: "c1a5b7e0-0000-4000-8000-000000000001", Criticality: "high",
			Radius: Radius{Pods: 1, Share: 0.5, ShareOf: in("Deployment", "checkout"), SharePods: 2},
		}
		entries[i] = newEntry(f, StatusOK, 1, nil)
		entries[i].impactFor(9)
		entries[i].impactFor(17)
	}
	size := int(heap()-before) / n
	runtime.KeepAlive(entries)
	t.Logf("%d bytes for each entry", size)
	if size > budget {
		t.Errorf("an entry takes %d bytes, want at most %d", size, budget)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
