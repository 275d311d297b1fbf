// Package cel decides by CEL expressions about events: any stage may use it. What an expression may
// name and cost is in workers/config/celenv, which the planner checks expressions against, too.
//
// A condition that compares fields of the event or its entity with literals, such as
// event.severity > 8 && event.id != "", is a Go function and costs some nanoseconds (native); any other is
// left to CEL: 0.2 us and one allocation for each text that it reads, 0.5 us and three for each attribute that it names
// (BenchmarkHolds). Fields that it does not name are not decoded.
package cel
