// Package connect opens connections to NATS: with TLS that is always verified, and as the user
// of a .creds file, an nkey, a password or a client certificate. It stands beside the contract of
// the planes because both connect.
//
// # Rotation
//
// What a connection authenticates with is read again at each connect and reconnect, so files of
// a mounted Secret may change at any time: a server that ends a connection because its user is
// not valid any more, or its certificate was replaced, gets the new ones at the next attempt.
// Attempts never end: credentials may reach the server later than the client, or earlier.
//
// # Secrets
//
// No error and no log of this package holds a secret. URLs with a user are refused (Check): a URL
// ends up in logs, process lists and ConfigMaps.
package connect
