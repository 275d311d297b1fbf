// Package api tests the custom resources against a real API server: every CEL rule and bound
// with its message, immutability, the scale subresource, and all samples. Each refusal is also
// run through controllers/manifest, so that `millrace lint` and the API server agree.
package api
