package plan

import (
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

func (c *computation) gather(s *v1alpha1.GatherSpec, path *field.Path) *config.Gather {
	to := &config.Gather{
		MaxEvents: 1, Timeout: duration(s.Timeout, 50*time.Millisecond), Quorum: int(s.Quorum), Max: int(s.Max), Prefix: s.Prefix,
		OnIncomplete: config.OnIncomplete(or(s.OnIncomplete, v1alpha1.IncompleteEmit)), Merge: config.Merge(or(s.Merge, v1alpha1.MergeFirst)),
	}
	if s.Batch != nil {
		to.MaxEvents = int(s.Batch.MaxEvents)
	}
	answering := 1
	switch {
	case s.NATS != nil:
		to.NATS = &config.GatherNATS{Subject: s.NATS.Subject, MaxInFlight: int(or(s.NATS.MaxInFlight, 512))}
		c.checkRequests(s.NATS.Subject, path.Child("nats", "subject"))
	case s.HTTP != nil:
		to.HTTP = gatherHTTP(s.HTTP)
		answering = len(s.HTTP.Endpoints)
		to.Max = or(to.Max, answering)
	default:
		c.refuse(field.Required(path, "set one of nats, http: it is who is asked"))
	}
	if s.Quorum == 0 && s.Max == 0 {
		to.Quorum, to.Max = answering, answering
	}
	return to
}

// checkRequests refuses a subject that a stream of the pipeline stores: JetStream would answer each request, and responders read it twice.
func (c *computation) checkRequests(subject string, path *field.Path) {
	if err := config.CheckRequestSubject(subject); err != nil {
		c.refuse(field.Invalid(path, subject, err.Error()))
		return
	}
	c.requests = append(c.requests, requested{subject, path})
}

// requested is a subject on which a stage asks.
type requested struct {
	subject string
	path    *field.Path
}

// refuseStoredRequests is called when the streams are known.
func (c *computation) refuseStoredRequests(streams []*stream) {
	for _, r := range c.requests {
		for _, s := range streams {
			if _, stored, ok := overlapping([]string{r.subject}, s.Subjects); ok {
				c.refuse(field.Invalid(r.path, r.subject, "is among the subjects "+stored+" of stream "+s.Name+", which would store the requests: choose one that no stream has"))
			}
		}
	}
}

func gatherHTTP(s *v1alpha1.GatherHTTPSpec) *config.GatherHTTP {
	h := &config.GatherHTTP{MaxInFlight: int(or(s.MaxInFlight, 32)), Headers: httpHeaders(s.Headers)}
	for _, e := range s.Endpoints {
		h.Endpoints = append(h.Endpoints, config.GatherEndpoint{Name: e.Name, URL: e.URL})
	}
	return h
}

// gatherSecrets are the values of Secrets that the headers name.
func gatherSecrets(s *v1alpha1.GatherSpec) []config.SecretFile {
	if s.HTTP == nil {
		return nil
	}
	return headerSecrets(s.HTTP.Headers)
}
