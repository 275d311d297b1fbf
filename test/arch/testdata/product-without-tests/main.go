// Command millrace is a test case.
package main

import _ "millrace.dev/millrace/hack/events"

func main() {}
