package stage

import (
	_ "millrace.dev/millrace/workers/config/golden"
	_ "millrace.dev/millrace/workers/engine"
)
