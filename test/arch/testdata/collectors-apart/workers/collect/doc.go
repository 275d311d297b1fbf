// Package collect is a collector.
package collect
