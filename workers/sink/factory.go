package sink

import (
	"errors"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/sink/file"
	"millrace.dev/millrace/workers/sink/http"
	"millrace.dev/millrace/workers/sink/nats"
	"millrace.dev/millrace/workers/sink/postgres"
	"millrace.dev/millrace/workers/stage"
)

// NewFactory returns the factory of sink stages.
func NewFactory() stage.Factory { return factory{} }

type factory struct{}

// Kind is sink.
func (factory) Kind() config.Kind { return config.KindSink }

// Stateful is false: the target keeps what is to be kept.
func (factory) Stateful(*config.StageConfig) bool { return false }

// New makes the stage of the target that is set.
func (factory) New(s stage.Settings) (stage.Stage, error) {
	if s.Config.Sink == nil {
		return nil, errors.New("stage config: sink is missing")
	}
	if err := check(s.Config.Sink); err != nil {
		return nil, err
	}
	switch c := s.Config.Sink; {
	case c.HTTP != nil:
		made, err := http.New(s)
		if err != nil {
			return nil, err
		}
		return made, nil
	case c.NATS != nil:
		made, err := nats.New(s)
		if err != nil {
			return nil, err
		}
		return made, nil
	}
	to, err := target(s)
	if err != nil {
		return nil, err
	}
	return &keeper{to}, nil
}

// target makes the target with transactions that is set.
func target(s stage.Settings) (Target, error) {
	c := s.Config.Sink
	if c.Postgres != nil {
		return postgres.New(c.Postgres, s.Now)
	}
	return file.New(c.File, s.Config.Pipeline.String()+"/"+s.Config.Stage, s.Now, s.Log)
}
