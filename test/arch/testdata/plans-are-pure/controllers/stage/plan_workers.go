package stage

import _ "github.com/nats-io/jsm.go"
