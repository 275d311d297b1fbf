package validate

import (
	_ "millrace.dev/millrace/workers/engine"
	_ "millrace.dev/millrace/workers/enrich"
	_ "millrace.dev/millrace/workers/stage"
)
