package semantic

import _ "millrace.dev/millrace/workers/brew"
