// Package call has what stages share that call an HTTP server: the client, values of Secrets, and what people may read of an answer.
package call
