package enrich

import (
	_ "millrace.dev/millrace/workers/config"
	_ "millrace.dev/millrace/workers/enrich/kubernetes"
	_ "millrace.dev/millrace/workers/event"
	_ "millrace.dev/millrace/workers/stage"
)
