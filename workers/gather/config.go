package gather

import (
	"errors"
	"fmt"
	"net/url"

	"millrace.dev/millrace/workers/config"
)

// check refuses settings that ask nobody, or that cannot be met.
func check(c *config.Gather) error {
	switch {
	case (c.NATS == nil) == (c.HTTP == nil):
		return errors.New("gather: set one of nats, http")
	case c.MaxEvents < 1 || c.MaxEvents > config.MaxGatherEvents:
		return fmt.Errorf("gather.maxEvents: is %d, must be 1 to %d", c.MaxEvents, config.MaxGatherEvents)
	case c.Timeout <= 0:
		return fmt.Errorf("gather.timeout: is %s, must be positive", c.Timeout.D())
	case c.Quorum < 0 || c.Max < 0 || c.Max > 0 && c.Quorum > c.Max:
		return fmt.Errorf("gather.quorum: is %d, must be 0 to max (%d; 0 = unbounded)", c.Quorum, c.Max)
	}
	switch c.OnIncomplete {
	case config.IncompleteEmit, config.IncompleteRetry, config.IncompleteDeadLetter, config.IncompleteHold:
	default:
		return fmt.Errorf("gather.onIncomplete: is %q, must be Emit, Retry, DeadLetter or Hold", c.OnIncomplete)
	}
	switch c.Merge {
	case config.MergeFirst, config.MergeLast, config.MergeList:
	default:
		return fmt.Errorf("gather.merge: is %q, must be First, Last or List", c.Merge)
	}
	if c.NATS != nil {
		return checkNATS(c.NATS)
	}
	return checkHTTP(c.HTTP, c.Quorum)
}

// share is how many of the requests that may be under way may be of events that are replayed.
func share(c *config.StageConfig, inFlight int) int {
	if !c.Overflows() || c.Breaker.ReplayShare == 0 {
		return inFlight
	}
	return int(c.Breaker.ReplayShare * float64(inFlight))
}

func checkNATS(c *config.GatherNATS) error {
	if err := config.CheckRequestSubject(c.Subject); err != nil {
		return fmt.Errorf("gather.nats.subject: %w", err)
	}
	if c.MaxInFlight < 1 || c.MaxInFlight > config.MaxGatherInFlight {
		return fmt.Errorf("gather.nats.maxInFlight: is %d, must be 1 to %d", c.MaxInFlight, config.MaxGatherInFlight)
	}
	return nil
}

func checkHTTP(c *config.GatherHTTP, quorum int) error {
	switch {
	case len(c.Endpoints) == 0:
		return errors.New("gather.http.endpoints: is empty")
	case quorum > len(c.Endpoints):
		return fmt.Errorf("gather.quorum: is %d, and there are %d endpoints", quorum, len(c.Endpoints))
	case c.MaxInFlight < 1 || c.MaxInFlight > config.MaxEndpointInFlight:
		return fmt.Errorf("gather.http.maxInFlight: is %d, must be 1 to %d", c.MaxInFlight, config.MaxEndpointInFlight)
	}
	names := map[string]bool{}
	for i, e := range c.Endpoints {
		u, err := url.Parse(e.URL)
		switch {
		case e.Name == "" || names[e.Name]:
			return fmt.Errorf("gather.http.endpoints[%d].name: %q is empty, or that of another endpoint", i, e.Name)
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil:
			return fmt.Errorf("gather.http.endpoints[%d].url: must be a URL such as https://example.com/score, without user and password", i)
		}
		names[e.Name] = true
	}
	return config.CheckHeaders(c.Headers, "gather.http.headers")
}
