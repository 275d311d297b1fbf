package http

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"millrace.dev/millrace/workers/stage/call"
)

const (
	// maxRead is how much of an answer is read for people, who are shown a part of it.
	maxRead = 4 << 10
	// maxWait bounds what a server may ask for.
	maxWait = time.Hour
)

// refusal is the error of a server that does not take a request because of what is in it.
type refusal struct {
	status int
	answer string
}

func (r *refusal) Error() string {
	text := fmt.Sprintf("the server answers %d %s", r.status, http.StatusText(r.status))
	if r.answer != "" {
		text += ": " + r.answer
	}
	return text
}

// ofContent says whether a status blames the events of a request. A server says anything else of who sends, or of where to: a token that is
// revoked, or a path that is gone during a roll-out, is the fault of no event.
func ofContent(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// advice is what to do about a status that blames no event, and that does not pass by itself.
func advice(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return "correct the headers of the sink, or the Secret with their values"
	case http.StatusPaymentRequired:
		return "see to the account at the server"
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone:
		return "correct the URL of the sink, or the server"
	}
	return "correct the sink or the server"
}

// judge says what an answer means: nil, a refusal, or the fault of the moment.
func (s *Stage) judge(answer *http.Response) error {
	text, _ := call.Read(answer, maxRead)
	status := answer.StatusCode
	if status >= 200 && status < 300 {
		return nil
	}
	said := &refusal{status, call.Short(s.hidden(call.Printable(string(text)), answer.Request.URL))}
	if ofContent(status) {
		return said
	}
	s.askedToWait(answer.Header.Get("Retry-After"))
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		return errors.New(said.Error())
	case status >= 400:
		return fmt.Errorf("%s; the lane waits: %s", said.Error(), advice(status))
	case status >= 300:
		moved := fmt.Sprintf("the server answers %d and wants the events at another URL, which is not followed", status)
		if s.settings.URLFile == "" {
			moved += ": " + call.Short(call.Printable(answer.Header.Get("Location")))
		}
		return errors.New(moved)
	}
	return errors.New(said.Error())
}

// askedToWait obeys a header Retry-After: seconds or a date (RFC 9110, section 10.2.3).
func (s *Stage) askedToWait(header string) {
	var wait time.Duration
	if seconds, err := strconv.ParseInt(header, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		wait = at.Sub(s.now())
	}
	if wait > 0 {
		s.notBefore.Store(s.now().Add(min(wait, maxWait)).UnixNano())
	}
}
