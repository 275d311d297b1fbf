package config

// Compare configures a compare stage: each input is a variant.
type Compare struct {
	// Control is the input that the others are compared with, as Input.From says it.
	Control string `json:"control"`
	// Mode is that of the experiment: whether each variant got events of its own, or all got the same.
	Mode ExperimentMode `json:"mode"`
	// Outcome is CEL that yields a bool: whether an event has the outcome whose rate is compared.
	Outcome string `json:"outcome"`
	// Score is CEL that yields a double whose distribution is told; empty = none.
	Score string `json:"score,omitempty"`
	// Key is CEL that yields a string: the key by which the experiment chose the variant; empty = the key of the event.
	Key string `json:"key,omitempty"`
	// Interval is the stream time between two reports, in whole seconds.
	Interval Duration `json:"interval"`
	// EffectPercent is the least difference that matters, relative to the rate.
	EffectPercent int `json:"effectPercent"`
	// FalseAlarmPercent is how likely an experiment without a difference may find one, over all of its reports and candidates.
	FalseAlarmPercent int `json:"falseAlarmPercent"`
}
