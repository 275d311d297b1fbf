package call

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Options are those of a client.
type Options struct {
	// Idle is how many connections to a server are kept for the next request, Most how many there may be; 0 = any number.
	Idle, Most int
	// Timeout bounds a request with its answer; 0 = its context does.
	Timeout time.Duration
}

// NewClient makes a client that follows no redirect: that would send the events, and what the headers hold, to somebody else.
func NewClient(o Options) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: o.Idle, MaxConnsPerHost: o.Most, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
		},
		Timeout:       o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// maxDrained bounds what is read of an answer that nobody looks at.
const maxDrained = 64 << 10

// Read returns the first bytes of the body of an answer, at most limit, and reads on for a while, so that the connection can be used again. It closes
// the body.
func Read(answer *http.Response, limit int64) ([]byte, error) {
	defer answer.Body.Close() //nolint:errcheck // read only
	text, err := io.ReadAll(io.LimitReader(answer.Body, limit))
	if err == nil {
		_, _ = io.CopyN(io.Discard, answer.Body, maxDrained)
	}
	return text, err
}

// WithoutURL is the error of a request without the URL, which may hold a token: logs and conditions have the text.
func WithoutURL(err error) error {
	if with := (*url.Error)(nil); errors.As(err, &with) {
		return with.Err
	}
	return err
}
