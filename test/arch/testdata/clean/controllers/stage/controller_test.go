package stage_test

import (
	_ "github.com/nats-io/nats.go"
	_ "millrace.dev/millrace/test/harness"
)
