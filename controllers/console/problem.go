package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"millrace.dev/millrace/controllers/deadletter"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/view"
)

// Errors of an Access; others mean that nobody could be asked, and refuse too.
var (
	// ErrUnauthenticated means that nobody knows who asks. The text says why.
	ErrUnauthenticated = errors.New("not signed in")
	// ErrForbidden means that a user is known, and may not. The text says what is missing.
	ErrForbidden = errors.New("forbidden")
)

// problem is an error as a client gets it.
type problem struct {
	Status int `json:"status"`
	// Reason is one word, Message a sentence, and Do what helps.
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Do      string `json:"do,omitempty"`
}

func (p problem) Error() string { return p.Message }

// problemOf says what an error means to a client.
func (c *console) problemOf(err error) problem {
	var p problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, view.ErrNotFound):
		return problem{Status: http.StatusNotFound, Reason: "NotFound", Message: err.Error()}
	case errors.Is(err, view.ErrInvalid):
		return problem{Status: http.StatusBadRequest, Reason: "Invalid", Message: err.Error()}
	case errors.Is(err, deadletter.ErrEnded), errors.Is(err, deadletter.ErrRunning):
		return problem{Status: http.StatusConflict, Reason: "Conflict", Message: err.Error()}
	case errors.Is(err, ErrUnauthenticated):
		return problem{
			Status: http.StatusUnauthorized, Reason: "Unauthorized", Message: err.Error(),
			Do: "Sign in on the page, or send Authorization: Bearer with a token of the cluster.",
		}
	case errors.Is(err, ErrForbidden):
		return problem{Status: http.StatusForbidden, Reason: "Forbidden", Message: err.Error(), Do: "Ask for the right on pipelines.millrace.dev; docs/security.md lists them."}
	case jetstream.IsForbidden(err):
		return problem{
			Status: http.StatusServiceUnavailable, Reason: "NATSForbidden", Message: err.Error(),
			Do: "The console lacks a right in NATS: print its rights anew with millrace nats-permissions --console view, or edit.",
		}
	case errors.Is(err, context.DeadlineExceeded):
		return problem{
			Status: http.StatusGatewayTimeout, Reason: "Timeout", Message: "it took too long: " + err.Error(),
			Do: "Choose a shorter time or a narrower filter, and look whether NATS is busy.",
		}
	default:
		return problem{
			Status: http.StatusServiceUnavailable, Reason: "Unavailable", Message: err.Error(),
			Do: "Look whether NATS answers. The page asks again.",
		}
	}
}

// fail answers with an error.
func (c *console) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return // nobody listens
	}
	p := c.problemOf(err)
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="millrace"`)
	}
	if p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "2")
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	body, _ := json.Marshal(map[string]problem{"error": p})
	_, _ = w.Write(append(body, '\n'))
}
