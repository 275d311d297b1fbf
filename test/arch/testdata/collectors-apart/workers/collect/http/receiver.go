package http

import (
	_ "millrace.dev/millrace/workers/collect"
	_ "millrace.dev/millrace/workers/collect/kubernetes"
)
