package gather

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"millrace.dev/millrace/workers/config"
)

// secretAge is how long the value of a file is used before it is read again.
const secretAge = time.Second

// headers are sent with each request. Values of files are read again when they may have changed.
type headers struct {
	headers []config.HTTPHeader
	now     func() time.Time

	mu    sync.Mutex
	known map[string]secret // by file
}

type secret struct {
	value string
	read  time.Time
}

// read makes the headers of a request.
func (h *headers) read() (http.Header, error) {
	made := http.Header{}
	for _, one := range h.headers {
		value := one.Value
		if one.ValueFile != "" {
			var err error
			if value, err = h.secret(one.ValueFile); err != nil {
				return nil, fmt.Errorf("header %s: %w", one.Name, err)
			}
		}
		made.Set(one.Name, value)
	}
	return made, nil
}

func (h *headers) secret(file string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if s, ok := h.known[file]; ok && now.Sub(s.read) < secretAge {
		return s.value, nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	s := secret{strings.TrimRight(string(content), "\r\n"), now}
	h.known[file] = s
	return s.value, nil
}
