package pipeline

import _ "github.com/nats-io/nats.go"
