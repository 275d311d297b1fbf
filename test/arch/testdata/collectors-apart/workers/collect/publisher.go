package collect

import _ "millrace.dev/millrace/workers/collect/kubernetes"
