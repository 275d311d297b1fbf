package stage

// Requester lets a stage ask others on the NATS connection of its worker, by core requests: the stage never sees the connection. The rights
// of the worker have to name each subject that it asks (controllers/plan.Permissions).
type Requester interface {
	// Open subscribes to the replies of all requests that are sent through the result: one subscription, however many wait. received is called
	// for one reply after another, and returns soon. Nothing is called after Close has returned.
	Open(received func(Reply)) (Requests, error)
}

// Requests are sent by one stage. Several goroutines may send.
type Requests interface {
	// Send publishes a request. Its replies carry token, which is one token of a subject. An error says that it was not sent.
	Send(subject, token string, body []byte) error
	// MaxBytes is the largest body that the server takes; 0 = not known yet.
	MaxBytes() int64
	// Connection is a number that changes with each connection to a server; ok is false while there is none. Replies to what was sent on an earlier
	// connection may be lost.
	Connection() (number uint64, ok bool)
	// Dropped is how many replies were dropped because they came faster than received took them.
	Dropped() int64
	Close()
}

// Reply is what came back for a request.
type Reply struct {
	// Token is that of the request.
	Token string
	// Body is the receiver's to keep.
	Body []byte
	// Unheard says that nobody listens on the subject: this is the server's answer, and the only one.
	Unheard bool
}
