package event

import _ "millrace.dev/millrace/workers/event/frame"
