package stage

import (
	_ "k8s.io/client-go/kubernetes"
	_ "millrace.dev/millrace/config/crd"
	_ "sigs.k8s.io/controller-runtime/pkg/client"
)
