package main

import (
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/test/harness/process"
)

const patience = 10 * time.Minute

func kinds() []v1alpha1.PipelineStage {
	return []v1alpha1.PipelineStage{
		{Name: "validate", StageNode: v1alpha1.StageNode{From: []string{"ingress"}, Validate: &v1alpha1.ValidateSpec{
			Rules: []v1alpha1.ValidateRule{{Expression: "event.id != ''", Message: "id must be set"}},
		}}},
		{Name: "enrich", StageNode: v1alpha1.StageNode{From: []string{"validate"}, Enrich: &v1alpha1.EnrichSpec{Semantic: &v1alpha1.EnrichSemanticSpec{}}}},
		{Name: "trace", StageNode: v1alpha1.StageNode{From: []string{"enrich"}, Enrich: &v1alpha1.EnrichSpec{Semantic: &v1alpha1.EnrichSemanticSpec{}}}},
		{Name: "correlate", StageNode: v1alpha1.StageNode{From: []string{"trace"}, Correlate: &v1alpha1.CorrelateSpec{Realtime: &v1alpha1.RealtimeSpec{}}}},
		{Name: "analyze", StageNode: v1alpha1.StageNode{From: []string{"trace"}, Analyze: &v1alpha1.AnalyzeSpec{Trend: &v1alpha1.TrendSpec{}}}},
	}
}

func (w *world) pipeline(name string) *v1alpha1.Pipeline {
	return &v1alpha1.Pipeline{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.PipelineSpec{
			Streams: v1alpha1.StreamDefaults{MaxBytes: new(resource.MustParse("1Mi"))},
			Stages:  kinds()[:w.stages],
		},
	}
}

// empty makes everything from nothing.
func (w *world) empty(ctx context.Context, r *Report) error {
	before, err := w.counts(ctx)
	if err != nil {
		return err
	}
	cpu, err := usage()
	if err != nil {
		return err
	}
	w.profiled(ctx, "empty", 20*time.Second)
	started := time.Now()
	for i := range w.pipelines {
		if err := w.client.Create(ctx, w.pipeline(fmt.Sprintf("p%03d", i))); err != nil {
			return err
		}
	}
	if err := until(ctx, patience, time.Second, func() error { return w.made(ctx, w.pipelines) }); err != nil {
		return err
	}
	r.EmptySeconds = time.Since(started).Seconds()
	after, err := usage()
	if err != nil {
		return err
	}
	r.EmptyCPU = map[string]float64{}
	for name, used := range after {
		r.EmptyCPU[name] = round(used - cpu[name])
	}
	now, err := w.counts(ctx)
	if err != nil {
		return err
	}
	r.EmptyRequests = since(now.Requests, before.Requests)
	account, err := w.js.AccountInfo(ctx)
	if err != nil {
		return err
	}
	r.Streams, r.Consumers = account.Streams, account.Consumers
	fmt.Fprintf(os.Stderr, "from empty: %.1f s\n", r.EmptySeconds)
	return nil
}

// made reports whether everything is there of n pipelines.
func (w *world) made(ctx context.Context, n int) error {
	var deployments metav1.PartialObjectMetadataList
	deployments.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("DeploymentList"))
	if err := w.client.List(ctx, &deployments, client.InNamespace(namespace)); err != nil {
		return err
	}
	if got := len(deployments.Items); got < n*w.stages {
		return fmt.Errorf("%d of %d Deployments", got, n*w.stages)
	}
	var pipelines v1alpha1.PipelineList
	if err := w.client.List(ctx, &pipelines, client.InNamespace(namespace)); err != nil {
		return err
	}
	var stages v1alpha1.StageList
	if err := w.client.List(ctx, &stages, client.InNamespace(namespace)); err != nil {
		return err
	}
	ready := 0
	for i := range pipelines.Items {
		if meta.IsStatusConditionTrue(pipelines.Items[i].Status.Conditions, v1alpha1.ConditionStreamsReady) {
			ready++
		}
	}
	for i := range stages.Items {
		if meta.IsStatusConditionTrue(stages.Items[i].Status.Conditions, v1alpha1.ConditionConsumersReady) {
			ready++
		}
	}
	if ready < n+n*w.stages {
		return fmt.Errorf("%d of %d Pipelines and Stages", ready, n+n*w.stages)
	}
	return nil
}

// quiet waits until the controllers of Kubernetes are through too and nothing is written.
func (w *world) quiet(ctx context.Context, _ *Report) error {
	const still = 10 * time.Second
	last, since := -1, time.Now()
	return until(ctx, patience, time.Second, func() error {
		now, err := w.counts(ctx)
		if err != nil {
			return err
		}
		if n := writes(now.Requests); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) < still {
			return fmt.Errorf("%d writes so far", last)
		}
		return nil
	})
}

func (w *world) idle(ctx context.Context, r *Report) error {
	before, err := w.counts(ctx)
	if err != nil {
		return err
	}
	w.profiled(ctx, "idle", w.options.idle)
	used, err := w.operatorCPU()
	if err != nil {
		return err
	}
	started := time.Now()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(w.options.idle):
	}
	after, err := w.operatorCPU()
	if err != nil {
		return err
	}
	r.IdleSeconds = round(time.Since(started).Seconds())
	r.IdlePercent = round(100 * (after - used) / r.IdleSeconds)
	now, err := w.counts(ctx)
	if err != nil {
		return err
	}
	r.IdleRequests = since(now.Requests, before.Requests)
	r.PeakMiB, err = process.PeakMiB(w.operator.Pid())
	fmt.Fprintf(os.Stderr, "idle: %.2f %% of a core, %d writes\n", r.IdlePercent, writes(r.IdleRequests))
	return err
}

func (w *world) operatorCPU() (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.operator.Pid()))
	if err != nil {
		return 0, err
	}
	_, _, _, cpu, err := parseStat(string(data))
	return cpu, err
}

// restart has a new operator look at everything, of which nothing has changed.
func (w *world) restart(ctx context.Context, r *Report) error {
	w.operator.Stop(10 * time.Second)
	w.mu.Lock()
	clear(w.jetstream)
	w.mu.Unlock()
	started := time.Now()
	if err := w.startOperator(ctx); err != nil {
		return err
	}
	last, at := 0, time.Now()
	err := until(ctx, patience, 200*time.Millisecond, func() error {
		now, err := w.counts(ctx)
		if err != nil {
			return err
		}
		if now.Reconciles != last {
			last, at = now.Reconciles, time.Now()
		}
		if last < w.pipelines*(1+w.stages) || time.Since(at) < 3*time.Second {
			return fmt.Errorf("%d reconciles", last)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.RestartSeconds, r.RestartReconciles = round(at.Sub(started).Seconds()), last
	if r.RestartCPU, err = w.operatorCPU(); err != nil {
		return err
	}
	now, err := w.counts(ctx)
	r.RestartRequests = now.Requests
	fmt.Fprintf(os.Stderr, "restarted: %.1f s, %d writes\n", r.RestartSeconds, writes(r.RestartRequests))
	return err
}

// repair deletes things by hand.
func (w *world) repair(ctx context.Context, r *Report) error {
	const raw, durable, bucket = "BENCH_P000_RAW", "bench-p000-validate", "KV_bench_p000"
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "p000-validate"}}
	key := client.ObjectKeyFromObject(deployment)
	r.RepairSeconds = map[string]float64{}
	for what, test := range map[string]struct {
		destroy func() error
		back    func() error
	}{
		"stream":     {func() error { return w.js.DeleteStream(ctx, raw) }, func() error { return w.consumer(ctx, raw, durable) }},
		"consumer":   {func() error { return w.js.DeleteConsumer(ctx, raw, durable) }, func() error { return w.consumer(ctx, raw, durable) }},
		"bucket":     {func() error { return w.js.DeleteStream(ctx, bucket) }, func() error { _, err := w.js.Stream(ctx, bucket); return err }},
		"deployment": {func() error { return w.client.Delete(ctx, deployment) }, func() error { return w.client.Get(ctx, key, &appsv1.Deployment{}) }},
	} {
		if err := test.destroy(); err != nil {
			return fmt.Errorf("delete the %s: %w", what, err)
		}
		started := time.Now()
		if err := until(ctx, patience, 10*time.Millisecond, test.back); err != nil {
			return fmt.Errorf("the %s is gone: %w", what, err)
		}
		r.RepairSeconds[what] = round(time.Since(started).Seconds())
	}
	return nil
}

func (w *world) consumer(ctx context.Context, stream, name string) error {
	_, err := w.js.Consumer(ctx, stream, name)
	return err
}

// muted has pipelines on a server that accepts connections and says nothing.
func (w *world) muted(ctx context.Context, r *Report) (err error) {
	if r.ReadyAloneSeconds, err = w.timed(ctx, "alone"); err != nil || w.mute == 0 {
		return err
	}
	for i := range w.mute {
		if err := w.client.Create(ctx, w.pipeline(fmt.Sprintf("sound%03d", i))); err != nil {
			return err
		}
	}
	if r.ReadyBesideSoundSeconds, err = w.timed(ctx, "among-sound"); err != nil {
		return err
	}
	if err := w.quiet(ctx, r); err != nil {
		return err
	}
	for i := range w.mute {
		// An address of its own, and so a connection of its own.
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.1.%d:0", i+1))
		if err != nil {
			return err
		}
		defer listener.Close() //nolint:errcheck // at the end
		go hold(listener)
		p := w.pipeline(fmt.Sprintf("mute%03d", i))
		p.Spec.NATS = &v1alpha1.NATSSpec{URL: "nats://" + listener.Addr().String()}
		if err := w.client.Create(ctx, p); err != nil {
			return err
		}
	}
	r.ReadyBesideMuteSeconds, err = w.timed(ctx, "among-mute")
	return err
}

// hold accepts connections and says nothing.
func hold(listener net.Listener) {
	var held []net.Conn
	for {
		conn, err := listener.Accept()
		if err != nil {
			break
		}
		held = append(held, conn)
	}
	for _, c := range held {
		_ = c.Close()
	}
}

// timed creates one more pipeline and waits for its streams and consumers.
func (w *world) timed(ctx context.Context, name string) (float64, error) {
	started := time.Now()
	if err := w.client.Create(ctx, w.pipeline(name)); err != nil {
		return 0, err
	}
	err := until(ctx, patience, 50*time.Millisecond, func() error {
		for _, stage := range kinds()[:w.stages] {
			s := v1alpha1.Stage{}
			if err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name + "-" + stage.Name}, &s); err != nil {
				return err
			}
			if !meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionConsumersReady) {
				return fmt.Errorf("stage %s is not ready", s.Name)
			}
		}
		return nil
	})
	return round(time.Since(started).Seconds()), err
}

func round(x float64) float64 { return math.Round(x*100) / 100 }
