// Package durability finds out whether NATS servers sync every message to disk before they
// confirm it. That is a setting of the server (sync_interval: always) which it tells on its
// monitoring port alone (GET /varz), not to its clients.
package durability
