package backoff

import (
	_ "millrace.dev/millrace/workers/config"
	_ "time"
)
