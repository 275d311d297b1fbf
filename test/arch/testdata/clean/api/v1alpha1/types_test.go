package v1alpha1

import (
	_ "millrace.dev/millrace/config/crd"
	_ "millrace.dev/millrace/test/harness"
)
