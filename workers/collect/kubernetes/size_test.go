package kubernetes

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"millrace.dev/millrace/workers/collect"
)

// A bucket of the size that the docs state holds 400,000 pods.
func TestCheckpointOfALargeClusterFits(t *testing.T) {
	const pods = 10_000
	l := newLedger()
	for i := range pods {
		uid := uid()
		for aspect, value := range map[string]string{"ready": "1795436932", "not_ready": "1795436940", "restarted/app": "3"} {
			l.set(uid, kindPod, aspect, value)
		}
		l.know(uid, l.get(uid), fmt.Sprintf("team-%d/service-%d-5d8f7c9b6-%05x", i%50, i%5000, i),
			newRef("apps/v1", "ReplicaSet", fmt.Sprintf("service-%d-5d8f7c9b6", i%5000), fmt.Sprint(uid[:8], i%5000)),
			newRef("apps/v1", "Deployment", fmt.Sprintf("service-%d", i%5000), fmt.Sprint(uid[:8], i%5000)))
	}
	size := 0
	for _, shard := range newCheckpoint(l, time.Now(), nil).Shards {
		size += len(shard)
	}
	t.Logf("%d pods: %.1f MiB", pods, float64(size)/(1<<20))
	if size > collect.BucketBytes/40 {
		t.Errorf("the checkpoint has %d bytes, want a fortieth of the bucket's %d at most", size, collect.BucketBytes)
	}
}

func uid() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
