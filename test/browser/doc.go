// Package browser tests the console as people use it: it starts a real run with planted incidents and has a headless
// Chromium open every page. The steps are in console.mjs, which playwright-core drives; axe-core looks for problems of
// accessibility on each page, light and dark. TestConsoleOfTheOperator does the same with the chart on a real control plane: its steps are
// in operator.mjs.
//
// It needs Chromium (hack/chromium/find.sh fetches Debian's) and Node.js with npm, which installs the two packages into
// the cache folder once. Screenshots are left in dist/console; `go test ./test/browser -args -images` renews those of docs/console.md.
package browser
