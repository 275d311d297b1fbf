package local

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/join"
	"millrace.dev/millrace/workers/stage"
	transforming "millrace.dev/millrace/workers/transform"
	"millrace.dev/millrace/workers/validate"
)

// TestJoinWaitsForNobodyThatIsSilent: of two branches one ends nearly all events. Each event comes out once, and none has waited for the deadline, which is
// longer than the run. What is not an event of the input is nobody's: markers are not counted.
func TestJoinWaitsForNobodyThatIsSilent(t *testing.T) {
	t.Parallel()
	const events, of = 3000, 100
	var input strings.Builder
	for i := range events {
		fmt.Fprintf(&input, `{"id":"%d","source":"/t","type":"app.log","subject":"s%d","attributes":{"n":%d}}`+"\n", i, i%37, i)
	}
	s := newSetting(t, pipeline("partitions: 4", `stages:
  - {name: check, from: [ingress], validate: {}}
  - {name: all, from: [check], validate: {}}
  - {name: few, from: [check], transform: {steps: [{filter: "int(event.attributes['n']) % 100 == 0"}, {set: {field: attributes.few, expression: "true"}}]}}
  - {name: together, from: [few, all], join: {deadline: 1h}}
  - {name: again, from: [together, all], join: {deadline: 1h, merge: Collect}}
  - {name: behind, from: [again], validate: {}}`), input.String()).serve(nil)
	s.env.Registry = stage.NewRegistry(validate.NewFactory(), transforming.NewFactory(), join.NewFactory())
	got := s.run(Options{Input: "-", UntilDrained: true})
	if got.err != nil || got.Lost != 0 || got.Duplicated != 0 || got.Stages["behind"].In != events {
		t.Fatalf("%v, %d lost, %d duplicated, %d came out\n%s", got.err, got.Lost, got.Duplicated, got.Stages["behind"].In, got.stdout)
	}
	for stream, want := range map[string]map[string]int{
		"DEFAULT_P_TOGETHER": {"complete": events / of, "silent": events - events/of},
		"DEFAULT_P_AGAIN":    {"complete": events}, // what a join holds back, it does not say to be past
	} {
		if diff := cmp.Diff(want, s.resultsOf(stream)); diff != "" {
			t.Errorf("%s: how barriers ended (-want +got)\n%s", stream, diff)
		}
	}
}

// resultsOf counts how the barriers ended whose results a stream holds.
func (s *served) resultsOf(stream string) map[string]int {
	s.t.Helper()
	results := map[string]int{}
	for _, m := range s.stored(stream) {
		found, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data()})
		if len(bad) > 0 {
			s.t.Fatal(bad[0].Err)
		}
		for i := range found {
			result, _ := found[i].Attribute("join.result")
			results[strings.Clone(result.Text())]++
		}
	}
	return results
}
