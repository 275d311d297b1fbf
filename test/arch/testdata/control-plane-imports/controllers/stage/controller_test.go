package stage

import (
	_ "millrace.dev/millrace/test/harness"
	_ "millrace.dev/millrace/workers/local"
)
