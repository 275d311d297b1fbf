package chain

import (
	_ "github.com/nats-io/nats.go"
	_ "millrace.dev/millrace/workers/engine/progress"
	_ "millrace.dev/millrace/workers/engine/source"
)
