package wire

import _ "millrace.dev/millrace/api/event/v1"
