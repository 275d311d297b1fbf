package http

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"millrace.dev/millrace/workers/stage/call"
)

// said is the error of a request without an answer. It has no more than the host of the URL: what follows may be secret, and logs and
// conditions have the text.
func (s *Stage) said(err error, to *url.URL) error {
	err = call.WithoutURL(err)
	if s.settings.URLFile == "" {
		return fmt.Errorf("%s: %w", to.Host, err)
	}
	text := err.Error()
	if strings.Contains(text, "Location header") {
		return errors.New("the server wants the events at what is no URL")
	}
	return fmt.Errorf("the server at the secret URL: %s", s.hidden(text, to))
}

// hidden is a text without what it has of a secret URL: a server may answer with the path that it was asked for.
func (s *Stage) hidden(text string, to *url.URL) string {
	if s.settings.URLFile == "" || to == nil {
		return text
	}
	for _, part := range []string{to.String(), to.RequestURI(), to.EscapedPath(), to.Path, to.RawQuery, to.Host, to.Hostname()} {
		if len(part) > 1 {
			text = strings.ReplaceAll(text, part, "[secret]")
		}
	}
	return text
}
