package durability

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Answer is what is known.
type Answer int

// The answers.
const (
	// Unknown: not every server could be asked.
	Unknown Answer = iota
	// Synced: all of them sync.
	Synced
	// NotSynced: one of them does not.
	NotSynced
)

// Checker asks the servers of an operator.
type Checker struct {
	// Monitors are the monitoring URLs, one for each server.
	Monitors []string
	// HTTP asks them.
	HTTP *http.Client
	// Now is the clock.
	Now func() time.Time

	mu     sync.Mutex
	asked  time.Time
	answer Answer
	text   string
}

const (
	keepAnswer   = time.Minute
	keepFailure  = 10 * time.Second
	askTimeout   = 2 * time.Second
	maxVarzBytes = 1 << 20
)

// Parse reads the monitoring URLs of a flag, separated by commas.
func Parse(flag string) ([]string, error) {
	var monitors []string
	for _, text := range strings.Split(flag, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("%q is no URL such as http://nats:8222", text)
		}
		monitors = append(monitors, strings.TrimSuffix(text, "/"))
	}
	return monitors, nil
}

// Check returns what the servers say, and a sentence about it for a person. It asks them once a
// minute at most.
func (c *Checker) Check(ctx context.Context) (Answer, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.Monitors) == 0 {
		return Unknown, "whether the NATS server syncs every message is not known: start the operator with --nats-monitor-url"
	}
	keep := keepAnswer
	if c.answer != Synced {
		keep = keepFailure
	}
	if now := c.Now(); c.asked.IsZero() || now.Sub(c.asked) > keep {
		c.asked = now
		c.answer, c.text = c.ask(ctx)
	}
	return c.answer, c.text
}

func (c *Checker) ask(ctx context.Context) (Answer, string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for _, monitor := range c.Monitors {
		name, synced, err := c.varz(ctx, monitor)
		switch {
		case err != nil:
			return Unknown, fmt.Sprintf("whether the NATS server of %s syncs every message is not known: %s", monitor, err)
		case !synced:
			return NotSynced, fmt.Sprintf("NATS server %s (%s) confirms messages that are not on disk: set sync_interval: always in the jetstream block of its configuration and restart it", name, monitor)
		}
	}
	return Synced, "the NATS server has every message on disk before it confirms it"
}

func (c *Checker) varz(ctx context.Context, monitor string) (name string, synced bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, monitor+"/varz", http.NoBody)
	if err != nil {
		return "", false, err
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return "", false, err
	}
	defer response.Body.Close() //nolint:errcheck // only read
	if response.StatusCode != http.StatusOK {
		return "", false, fmt.Errorf("GET %s/varz: %s", monitor, response.Status)
	}
	var v struct {
		Name      string `json:"server_name"`
		JetStream struct {
			Config struct {
				SyncAlways bool `json:"sync_always"`
			} `json:"config"`
		} `json:"jetstream"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxVarzBytes)).Decode(&v); err != nil {
		return "", false, fmt.Errorf("GET %s/varz: %w", monitor, err)
	}
	return v.Name, v.JetStream.Config.SyncAlways, nil
}
