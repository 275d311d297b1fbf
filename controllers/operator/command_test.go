package operator

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/controllers/internal/apply"
)

func TestWrongUsage(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"no image":             {nil, "--worker-image is missing"},
		"credentials alone":    {[]string{"--worker-image=x", "--nats-credentials=f"}, "--nats-url, which is missing"},
		"monitor is no URL":    {[]string{"--worker-image=x", "--nats-monitor-url=nats:8222"}, "--nats-monitor-url: \"nats:8222\" is no URL such as http://nats:8222"},
		"no time to clean up":  {[]string{"--worker-image=x", "--nats-cleanup-timeout=0s"}, "--nats-cleanup-timeout is 0s"},
		"too eager":            {[]string{"--worker-image=x", "--resync-interval=1ms"}, "--resync-interval is 1ms"},
		"too fresh":            {[]string{"--worker-image=x", "--status-interval=1ms"}, "--status-interval is 1ms"},
		"no workers":           {[]string{"--worker-image=x", "--concurrency=0"}, "--concurrency is 0"},
		"traces to no URL":     {[]string{"--worker-image=x", "--otlp-endpoint=otel:4317"}, "--otlp-endpoint is \"otel:4317\": use a URL"},
		"unknown protocol":     {[]string{"--worker-image=x", "--otlp-protocol=http/json"}, "--otlp-protocol is \"http/json\": use http/protobuf or grpc"},
		"too many traces":      {[]string{"--worker-image=x", "--trace-sample-ratio=NaN"}, "--trace-sample-ratio is NaN: from 0 to 1"},
		"log level":            {[]string{"--worker-image=x", "--log-level=loud"}, "--log-level is \"loud\""},
		"log format":           {[]string{"--worker-image=x", "--log-format=xml"}, "--log-format is \"xml\""},
		"autoscaling backend":  {[]string{"--worker-image=x", "--autoscaling-backend=hpa"}, "--autoscaling-backend is \"hpa\": use external, keda, prometheus, direct or none"},
		"keda, no URL":         {[]string{"--worker-image=x", "--autoscaling-backend=keda", "--readings-url=millrace"}, "--readings-url is \"millrace\": the backend keda needs the URL"},
		"prometheus, unseen":   {[]string{"--worker-image=x", "--autoscaling-backend=prometheus", "--metrics-bind-address=0"}, "--metrics-bind-address is 0: the backend prometheus needs"},
		"external, no Service": {[]string{"--worker-image=x", "--autoscaling-backend=external"}, "--external-metrics-service is \"\""},
		"console, no Service":  {[]string{"--worker-image=x", "--console-bind-address=:8642"}, "--console-service is \"\": use the namespace/name of the Service"},
		"console, no port":     {[]string{"--worker-image=x", "--console-bind-address=8642", "--console-service=a/b"}, "--console-bind-address is \"8642\": use host:port"},
		"console, a URL":       {[]string{"--worker-image=x", "--console-bind-address=:1", "--console-service=a/b", "--console-hosts=https://x"}, "--console-hosts has \"https://x\""},
		"console, everybody":   {[]string{"--worker-image=x", "--console-bind-address=:1", "--console-service=a/b", "--console-proxy-addresses=0.0.0.0/0"}, "--console-proxy-secret-file is needed"},
		"console, a forward":   {[]string{"--worker-image=x", "--console-bind-address=:1", "--console-service=a/b", "--console-proxy-addresses=127.0.0.1"}, "--console-proxy-secret-file is needed"},
		"console, a name":      {[]string{"--worker-image=x", "--console-bind-address=:1", "--console-service=a/b", "--console-proxy-addresses=proxy"}, "\"proxy\" is neither an address nor a network"},
		"scale down at once":   {[]string{"--worker-image=x", "--scale-down-window=0s"}, "--scale-down-window is 0s"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := Command()
			c.SetArgs(test.args)
			c.SetOut(io.Discard)
			c.SetErr(io.Discard)
			err := c.ExecuteContext(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			var coded interface{ ExitCode() int }
			if !errors.As(err, &coded) || coded.ExitCode() != 2 {
				t.Errorf("%v: want exit code 2", err)
			}
		})
	}
}

func TestDefaultsAreGood(t *testing.T) {
	o := DefaultOptions()
	o.WorkerImage = "x"
	if err := o.check(); err != nil {
		t.Error(err)
	}
	if o.CleanupTimeout != time.Minute || o.Resync != 5*time.Minute || o.StatusInterval != 10*time.Second {
		t.Errorf("got %s, %s and %s, docs/operator.md says 1m, 5m and 10s", o.CleanupTimeout, o.Resync, o.StatusInterval)
	}
}

func TestLogger(t *testing.T) {
	var b strings.Builder
	logger, err := newLogger(&b, "warn", "json")
	if err != nil {
		t.Fatal(err)
	}
	logger.Info("quiet")
	logger.Error(errors.New("cause"), "loud", "stage", "enrich")
	if got := b.String(); strings.Contains(got, "quiet") || !strings.Contains(got, `"msg":"loud"`) || !strings.Contains(got, `"stage":"enrich"`) {
		t.Errorf("got %s at level %s", got, slog.LevelWarn)
	}
}

func TestCacheKeepsOnlyTheOperatorsOwnFields(t *testing.T) {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{
		{Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate},
		{Manager: string(apply.FieldOwner), Operation: metav1.ManagedFieldsOperationApply},
		{Manager: string(apply.FieldOwner), Operation: metav1.ManagedFieldsOperationUpdate},
	}}}
	if _, err := keepOwnFields(d); err != nil {
		t.Fatal(err)
	}
	if len(d.ManagedFields) != 1 || d.ManagedFields[0].Operation != metav1.ManagedFieldsOperationApply {
		t.Errorf("got %v, want the operator's apply alone", d.ManagedFields)
	}
}

func TestNamespacesLimitTheCache(t *testing.T) {
	if got := cacheOptions(nil).DefaultNamespaces; got != nil {
		t.Errorf("all namespaces: got %v", got)
	}
	if got := cacheOptions([]string{"a", "b"}).DefaultNamespaces; len(got) != 2 {
		t.Errorf("two namespaces: got %v", got)
	}
}
