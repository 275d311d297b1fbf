package harness

import (
	_ "k8s.io/client-go/kubernetes"
	_ "millrace.dev/millrace/workers/worker"
)
