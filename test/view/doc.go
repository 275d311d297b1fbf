// Package view tests what people can see of pipelines (controllers/view), and what they do with dead letters (controllers/deadletter), on
// real servers and real stages.
package view
