package v1

import _ "millrace.dev/millrace/api/v1alpha1"
