package plan

import (
	"time"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

func enrich(s *v1alpha1.EnrichSpec) *config.Enrich {
	cache := s.Cache
	if cache == nil {
		cache = &v1alpha1.EnrichCacheSpec{}
	}
	e := &config.Enrich{Cache: config.EnrichCache{
		MaxEntries: int(or(cache.MaxEntries, 100_000)), TTL: duration(cache.TTL, 10*time.Second),
	}}
	if k := s.Kubernetes; k != nil {
		e.Kubernetes = &config.EnrichKubernetes{Labels: k.Labels, KeepDeleted: duration(k.KeepDeleted, 2*time.Minute)}
	}
	if s.Semantic != nil {
		e.Semantic = &config.EnrichSemantic{}
		for _, r := range s.Semantic.Rules {
			e.Semantic.Rules = append(e.Semantic.Rules, config.SemanticRule{
				ID: r.ID, Type: r.Type, Reason: r.Reason, Contains: r.Contains,
				Class: r.Class, Category: r.Category, Severity: r.Severity,
			})
		}
	}
	if s.Trace != nil {
		e.Trace = &config.EnrichTrace{}
	}
	if s.Impact != nil {
		e.Impact = &config.EnrichImpact{}
	}
	return e
}
