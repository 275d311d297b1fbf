package admission

import "millrace.dev/millrace/api/v1alpha1"

// running is the number of lanes of each stage that runs, by the name of the object. It is what their statuses say: whoever decides in the
// end, the Pipeline controller, looks at what they run.
func running(stages ...v1alpha1.Stage) map[string]int {
	lanes := map[string]int{}
	for _, s := range stages {
		if len(s.Status.Consumers) > 0 {
			lanes[s.Name] = max(int(s.Status.Consumers[0].Lanes), 1)
		}
	}
	return lanes
}
