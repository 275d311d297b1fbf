package jetstream

import (
	"errors"
	"strings"
)

// The outcomes of a request.
const (
	OutcomeOK          = "ok"
	OutcomeNotFound    = "not_found"
	OutcomeRefused     = "refused"
	OutcomeForbidden   = "forbidden"
	OutcomeUnreachable = "unreachable"
)

// ask makes a request, and tells how it ended and how long it took. The verb is that of the JetStream API.
func ask[T any](c *Client, verb string, request func() (T, error)) (T, error) {
	began := c.now()
	answer, err := request()
	c.requested(verb, c.outcome(verb, err), c.now().Sub(began))
	return answer, err
}

// do is ask for a request without an answer.
func (c *Client) do(verb string, request func() error) error {
	_, err := ask(c, verb, func() (struct{}, error) { return struct{}{}, request() })
	return err
}

func (c *Client) outcome(verb string, err error) string {
	if denied := (*ForbiddenError)(nil); errors.As(c.denied(err, nil), &denied) && strings.Contains(denied.Subject, "."+verb) {
		return OutcomeForbidden
	}
	switch err := c.classify(err); {
	case err == nil:
		return OutcomeOK
	case errors.Is(err, ErrNotFound):
		return OutcomeNotFound
	case IsUnreachable(err):
		return OutcomeUnreachable
	}
	return OutcomeRefused
}
