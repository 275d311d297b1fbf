package kubernetes

import _ "k8s.io/client-go/informers"
