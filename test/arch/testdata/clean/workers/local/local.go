package local

import (
	_ "github.com/nats-io/nats-server/v2/server"
	_ "millrace.dev/millrace/api/v1alpha1"
	_ "millrace.dev/millrace/controllers/manifest"
	_ "millrace.dev/millrace/controllers/plan"
	_ "millrace.dev/millrace/workers/enrich"
)
