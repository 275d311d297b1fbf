package decode

import _ "millrace.dev/millrace/workers/event/frame"
