// Command millrace is a test case.
package main

import (
	"context"

	_ "millrace.dev/millrace/controllers/operator"
	_ "millrace.dev/millrace/workers/local"
)

func main() { run(context.Background()) }

func run(context.Context) {}
