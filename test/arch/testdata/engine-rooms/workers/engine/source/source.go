package source

import (
	_ "github.com/nats-io/nats.go"
	_ "millrace.dev/millrace/workers/stage"
)
