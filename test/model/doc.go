// Package model compares millrace with a model of it that knows nothing of streams, workers or frames: an event is a struct, a stage a function from an
// event to events. Pipelines and inputs are drawn by lot, `millrace run` runs them, and every port must hold exactly what the model says: the same
// events with the same content, and in order within a key.
//
// Nothing here uses the code of stages. What a stage promises is written down a second time, from its page in docs/stages.
//
//	go test ./test/model                                             # 200 pipelines, and 6 with a fork and a join
//	go test ./test/model -args -seeds 5000 -fork-seeds 500           # make model
//	go test ./test/model -args -seed 17                              # one of them
//	go test ./test/model -run TestForksComeTogether -args -fork 17   # one with a fork
//
// A pipeline that fails is made smaller as long as it fails, stage by stage and event by event, and printed.
package model
