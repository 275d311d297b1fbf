package enrich

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace.dev/millrace/workers/config"
)

// The defaults of what the planner leaves out.
const (
	defaultMaxEntries  = 100_000
	defaultTTL         = 10 * time.Second
	defaultKeepDeleted = 2 * time.Minute
)

// settings are config.Enrich, checked, with defaults.
type settings struct {
	labels      labelChoice
	keepDeleted time.Duration
	maxEntries  int
	ttl         time.Duration
}

func readConfig(c *config.Enrich) (settings, error) {
	if c == nil {
		return settings{}, errors.New("enrich is missing")
	}
	if c.Kubernetes == nil && c.Semantic == nil && c.Trace == nil && c.Impact == nil {
		return settings{}, errors.New("enrich: set at least one of kubernetes, semantic, trace, impact")
	}
	s := settings{keepDeleted: defaultKeepDeleted, maxEntries: c.Cache.MaxEntries, ttl: c.Cache.TTL.D()}
	if s.maxEntries < 0 {
		return s, fmt.Errorf("enrich.cache.maxEntries is %d: at least 1", s.maxEntries)
	}
	if s.ttl < 0 {
		return s, fmt.Errorf("enrich.cache.ttl is %s: more than 0", s.ttl)
	}
	if s.maxEntries == 0 {
		s.maxEntries = defaultMaxEntries
	}
	if s.ttl == 0 {
		s.ttl = defaultTTL
	}
	if k := c.Kubernetes; k != nil {
		if k.KeepDeleted < 0 {
			return s, fmt.Errorf("enrich.kubernetes.keepDeleted is %s: not negative", k.KeepDeleted.D())
		}
		if k.KeepDeleted > 0 {
			s.keepDeleted = k.KeepDeleted.D()
		}
		s.labels = labelChoice(k.Labels)
	}
	return s, checkRules(c.Semantic)
}

// checkRules checks the user's rules.
func checkRules(c *config.EnrichSemantic) error {
	if c == nil {
		return nil
	}
	ids := map[string]bool{}
	for i, r := range c.Rules {
		field := fmt.Sprintf("enrich.semantic.rules[%d]", i)
		switch {
		case r.ID == "":
			return fmt.Errorf("%s.id is missing", field)
		case ids[r.ID]:
			return fmt.Errorf("%s.id: %q is used twice", field, r.ID)
		case r.Class == "":
			return fmt.Errorf("%s.class is missing", field)
		case !slices.Contains(categories(), r.Category):
			return fmt.Errorf("%s.category is %q: want one of %s", field, r.Category, strings.Join(categories(), ", "))
		case r.Severity < 0 || r.Severity > 24:
			return fmt.Errorf("%s.severity is %d: an OpenTelemetry severity number is 1 to 24, 0 leaves the event's own", field, r.Severity)
		case strings.Contains(strings.TrimSuffix(r.Type, ".*"), "*"):
			return fmt.Errorf("%s.type is %q: a * stands only after the last dot, as in k8s.pod.*", field, r.Type)
		}
		ids[r.ID] = true
	}
	return nil
}

// labelChoice are the keys of the pod labels to copy; empty copies app.kubernetes.io/*.
type labelChoice []string

func (c labelChoice) takes(key string) bool {
	if len(c) == 0 {
		return strings.HasPrefix(key, "app.kubernetes.io/")
	}
	return slices.Contains(c, key)
}
