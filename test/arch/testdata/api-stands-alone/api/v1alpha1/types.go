package v1alpha1

import _ "millrace.dev/millrace/workers/config"
