package kubernetes

import (
	_ "github.com/nats-io/nats.go"
	_ "k8s.io/client-go/kubernetes"
)

var kinds = map[string]bool{"Pod": true}

func known(kind string) bool { return kinds[kind] }
