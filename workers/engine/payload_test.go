package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
)

// TestSmallMaxPayload: a server that takes little at once. Frames are cut to it, also where what they list is long.
func TestSmallMaxPayload(t *testing.T) {
	for _, limit := range []int32{8 << 10, 32 << 10} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			r := newRig(t, func(o *server.Options) { o.MaxPayload = limit })
			var ids []string
			for i := range 40 {
				ids = append(ids, r.publishFrames(fmt.Sprint("f", i, "-"), 1, 60)...)
			}
			e := r.run(&testStage{}, func(c *config.StageConfig, _ *engine.Options) { c.Batch.MaxEvents = 4000 })
			r.wantDrained(20 * time.Second)
			if err := e.end(); err != nil {
				t.Fatal(err)
			}
			r.wantOnce("OUT", ids)
			if n := len(r.stored("DEAD")); n > 0 {
				t.Errorf("%d dead letters", n)
			}
		})
	}
}
