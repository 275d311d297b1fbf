// Package console is the web page of Millrace: it serves a view.Reader as JSON and server-sent events below /api/v1, and the
// pages that show them, which are embedded.
//
// Pages are written in TypeScript in web; `make console` bundles them into dist, which is committed, so that a build needs
// neither npm nor a network. The pages load nothing from elsewhere.
//
// Everything is read-only without an Editor. Requests are checked for their Host, their origin, who asks (Access), and
// their size; streams are bounded in number for each client, and a client that does not read loses its stream.
package console
