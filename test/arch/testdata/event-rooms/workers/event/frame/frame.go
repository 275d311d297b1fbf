package frame

import _ "millrace.dev/millrace/workers/event/jsontext"
