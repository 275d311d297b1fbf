package local

import _ "sigs.k8s.io/controller-runtime/pkg/client"
