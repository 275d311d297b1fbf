// Package experiment is the stage that gives each event to one of several variants, which other stages try out: an A/B/n test. Events of
// one key go to one variant, at any worker and at any time, as long as the weights are what they are.
//
// The variant of a key is found by weighted rendezvous hashing (Thaler and Ravishankar 1998; weights as in Schindelhauer and Schomaker 2005):
// each variant has the score weight / -ln(h) of the hash h of key and variant, 0 < h < 1, and the highest one wins. So a variant gets a share of
// the keys in proportion to its weight, and a change of one weight moves keys to or from that variant alone, and no more than have to move.
//
// The variant is written into the attribute experiment.<stage> of the event. With mode Mirror every event goes to all variants, as it came: there the
// port tells them apart.
package experiment
