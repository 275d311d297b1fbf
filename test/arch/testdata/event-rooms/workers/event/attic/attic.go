package attic

import _ "millrace.dev/millrace/workers/event"
