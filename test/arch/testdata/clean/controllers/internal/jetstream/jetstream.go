package jetstream

import (
	_ "github.com/nats-io/jsm.go"
	_ "github.com/nats-io/nats.go"
)
