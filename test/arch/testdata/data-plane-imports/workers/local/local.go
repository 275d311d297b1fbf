package local

import (
	_ "millrace.dev/millrace/controllers/plan"
	_ "millrace.dev/millrace/controllers/stage"
)
