package gather

import (
	"fmt"
	"sync"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage/call"
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

// header is one with its value.
type header struct{ name, value string }

// read makes the headers of a request.
func (h *headers) read() ([]header, error) {
	made := make([]header, 0, len(h.headers))
	for _, one := range h.headers {
		value := one.Value
		if one.ValueFile != "" {
			var err error
			if value, err = h.secret(one.ValueFile); err != nil {
				return nil, fmt.Errorf("header %s: %w", one.Name, err)
			}
		}
		made = append(made, header{one.Name, value})
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
	value, err := call.Secret(file)
	if err != nil {
		return "", err
	}
	h.known[file] = secret{value, now}
	return value, nil
}
