package engine

import _ "millrace.dev/millrace/test/harness"
