// Package transform is the stage that changes events: it sets, removes, renames and redacts fields, lets some events end, splits one into
// several, and gives them another key. Steps run in the order of the manifest; each sees what those before it made.
//
// An event on which a step fails is a dead letter as it was received: nothing that is half changed leaves. Fields are changed in the encoded
// event (event.Set and its like); only what is split is decoded and encoded again.
//
// What a split makes follows from its event: the ids are <id>/<n>, so an event that comes twice makes the same pieces twice.
// Pieces of an event without an id have none.
package transform
