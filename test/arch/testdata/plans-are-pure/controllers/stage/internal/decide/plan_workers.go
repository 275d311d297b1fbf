package decide

import _ "github.com/nats-io/jsm.go"
