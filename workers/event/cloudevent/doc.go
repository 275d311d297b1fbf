// Package cloudevent reads and writes events as JSON objects: CloudEvents 1.0, structured and binary, and
// native events, which are such objects with members at top level that a CloudEvent has in data.
//
// A Reader encodes what it reads in one pass, without the generated types: an object or the headers and data of a
// binary CloudEvent become the bytes of an encoded event. What has no field, or does not fit its field, becomes an extension
// or attribute: one odd detail costs no event. Append writes an event for the world outside.
//
// docs/events.md describes the forms for users.
package cloudevent
