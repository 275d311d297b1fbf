// Package backoff says how long to wait before something that failed is tried again. It waits for nothing itself.
package backoff
