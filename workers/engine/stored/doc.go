// Package stored reads messages that JetStream streams have stored: one from the leader of a stream (Client.Get), or many from
// whichever replica answers (Client.Direct).
package stored
