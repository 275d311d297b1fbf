package attic

import _ "time"
