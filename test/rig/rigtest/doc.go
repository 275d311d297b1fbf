// Package rigtest is what tests on a rig share: it ends with the test, workers may have no more rights than they need, and what is stored is read back.
package rigtest
