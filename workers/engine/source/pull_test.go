package source

import "testing"

func TestPullsAreAccountedFor(t *testing.T) {
	in := &Input{budget: 1000, maxMessages: 100, pulls: pulls{open: map[string]Amount{}}}
	ask := func() (Amount, bool) {
		a, ok := in.nextPull(5000)
		if ok {
			in.pulls.add(a, 0)
		}
		return a, ok
	}
	if a, _ := ask(); a != (Amount{50, 5000 + messageOverhead}) {
		t.Fatalf("the first request is %+v: the largest message must fit", a)
	}
	if a, ok := ask(); ok {
		t.Fatalf("%+v was asked for beyond the budget", a)
	}
	// The server says that nothing more comes of the first.
	in.pulls.end("1", Amount{50, 5000 + messageOverhead})
	if in.pulls.asked != (Amount{}) || len(in.pulls.open) != 0 {
		t.Fatalf("after the end: %+v", in.pulls)
	}
	in.inHand = Amount{1, 400}
	if a, ok := ask(); !ok || a != (Amount{50, 500}) {
		t.Fatalf("with 400 bytes in hand: %+v, %v", a, ok)
	}
	if a, ok := ask(); ok {
		t.Fatalf("%+v was asked for with 100 bytes free", a)
	}
	in.pulls.take(300, 1)
	if in.pulls.asked != (Amount{49, 200}) {
		t.Fatalf("after 300 of 500 bytes: %+v", in.pulls.asked)
	}
	in.pulls.take(200, 2)
	if in.pulls.asked != (Amount{}) || len(in.pulls.open) != 0 {
		t.Fatalf("a request that is filled ends without a word: %+v", in.pulls)
	}
	in.pulls.add(Amount{1, 1}, 0)
	if in.pulls.dropSilent(int64(pullSilence)) || !in.pulls.dropSilent(int64(pullSilence)+1) {
		t.Error("requests are dropped after pullSilence and not before")
	}
}
