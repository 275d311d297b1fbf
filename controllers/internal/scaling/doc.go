// Package scaling says how many workers a stage should have. All of it is pure: numbers and times in,
// a number and its reason in words out.
//
// Wanted is the control law. Its two modes are the ceiling of lag/targetLag, and the ceiling of
// (arrival + lag/targetDrain) / rate; both never go below what the events that come in keep busy, so
// that a stage which has worked off its lag does not lose the workers it needs to stay there, and both
// are clamped to what helps: a lane has one worker at a time. Window holds back from scaling down and
// limits the steps, for those who have no HorizontalPodAutoscaler to do it. Estimate learns from what
// NATS says of the consumers how many events come in and what one worker gets through.
package scaling
