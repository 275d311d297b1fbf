package local

import _ "github.com/nats-io/jsm.go"
