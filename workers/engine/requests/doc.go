// Package requests is what stages ask others with (stage.Requester): core requests on the connection of the worker, and one subscription to
// the replies of a stage. Its inbox is below that of the worker, so no other rights are needed to listen.
package requests
