// Package cel evaluates CEL expressions about events: any stage may use it. What an expression may
// name and cost is in workers/config/celenv, which the planner checks expressions against, too.
//
// A condition that compares fields of the event or its entity with literals, such as
// event.severity > 8 && event.id != "", is a Go function and costs some nanoseconds (native); any other is
// left to CEL: 0.2 us and one allocation for each text that it reads, 0.5 us and three for each attribute that it names
// (BenchmarkHolds). Fields that it does not name are not decoded.
//
// A condition yields a bool. Compile makes an Expression of any other type that a stage asks for: a key is a string, a value is any
// scalar, what is fanned out is a list.
//
//	key, err := cel.Compile[string](env, "event.entity.namespace + '/' + event.entity.name")
//	text, err := key.Of(e)
//
// What an Expression yields is copied: it outlives the event. A field alone, such as event.subject, is read without CEL; anything
// else costs what a condition does, and an allocation for each text that is yielded (BenchmarkOf).
package cel
