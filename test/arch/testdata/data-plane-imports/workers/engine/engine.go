package engine

import (
	_ "millrace.dev/millrace/api/v1alpha1"
	_ "millrace.dev/millrace/controllers/plan"
	_ "millrace.dev/millrace/workers/local"
)
