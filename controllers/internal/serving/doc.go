// Package serving keeps the certificate that the operator serves the API server with: for the
// external metrics (package lag) and for the admission webhook (package admission), and browsers with: for the console.
//
// The certificate stands in a Secret. Either the operator owns the Secret: its leader makes the
// certificate and renews it, and the other replicas read it. Or somebody else owns it, such as
// cert-manager: then the operator only reads it. A new authority signs nothing before the API
// server has had a chance to trust it, so a renewal refuses nobody.
package serving
