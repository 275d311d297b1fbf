package jetstream_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/test/harness"
)

func TestConsumerIsCreatedOnceAndThenLeftAlone(t *testing.T) {
	b := start(t)
	b.reconcile(t, wanted(), owner)
	b.written(t)
	if got := b.reconcileConsumer(t, wantedConsumer(), stageOwner).Action; got != jetstream.ActionCreate {
		t.Fatalf("first: got %s, want create", got)
	}
	b.written(t)
	for range 3 {
		if got := b.reconcileConsumer(t, wantedConsumer(), stageOwner); got.Action != jetstream.ActionNone {
			t.Fatalf("again: got %s (%s), want none", got.Action, got.Fields)
		}
	}
	if got := b.written(t); len(got) != 0 {
		t.Errorf("again: got requests %v, want none", got)
	}
	c, err := b.js.Consumer(t.Context(), "RAW", "validate")
	if err != nil {
		t.Fatal(err)
	}
	have := c.CachedInfo().Config
	got := map[string]any{
		"ack": have.AckPolicy, "deliver": have.DeliverPolicy, "max": have.MaxDeliver, "wait": have.AckWait,
		"pending": have.MaxAckPending, "filter": have.FilterSubject, "inactive": have.InactiveThreshold,
		"durable": have.Durable, "stage": have.Metadata[jetstream.MetadataStage],
	}
	want := map[string]any{
		"ack": natsjs.AckAllPolicy, "deliver": natsjs.DeliverAllPolicy, "max": -1, "wait": 30 * time.Second,
		"pending": 256, "filter": "orders.raw.>", "inactive": time.Duration(0),
		"durable": "validate", "stage": "validate",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestConsumerDriftIsRepairedInPlace(t *testing.T) {
	tests := map[string]struct {
		edit  func(*natsjs.ConsumerConfig)
		field string
	}{
		"ack wait":    {func(c *natsjs.ConsumerConfig) { c.AckWait = time.Second }, "ack_wait"},
		"ack pending": {func(c *natsjs.ConsumerConfig) { c.MaxAckPending = 1 }, "max_ack_pending"},
		"max deliver": {func(c *natsjs.ConsumerConfig) { c.MaxDeliver = 3 }, "max_deliver"},
		"filter":      {func(c *natsjs.ConsumerConfig) { c.FilterSubject = "orders.raw.eu" }, "filter_subjects"},
		"filters": {func(c *natsjs.ConsumerConfig) {
			c.FilterSubject, c.FilterSubjects = "", []string{"orders.raw.eu", "orders.raw.us"}
		}, "filter_subjects"},
		"inactive":  {func(c *natsjs.ConsumerConfig) { c.InactiveThreshold = time.Hour }, "inactive_threshold"},
		"no bodies": {func(c *natsjs.ConsumerConfig) { c.HeadersOnly = true }, "headers_only"},
	}
	b := start(t)
	b.reconcile(t, wanted(), owner)
	b.reconcileConsumer(t, wantedConsumer(), stageOwner)
	before, err := b.client.Consumer("RAW", "validate")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := b.js.Consumer(t.Context(), "RAW", "validate")
			if err != nil {
				t.Fatal(err)
			}
			config := c.CachedInfo().Config
			test.edit(&config)
			if _, err := b.js.UpdateConsumer(t.Context(), "RAW", config); err != nil {
				t.Fatal(err)
			}
			got := b.reconcileConsumer(t, wantedConsumer(), stageOwner)
			if got.Action != jetstream.ActionUpdate || len(got.Fields) != 1 || got.Fields[0].Name != test.field {
				t.Errorf("got %s (%s), want update of %s", got.Action, got.Fields, test.field)
			}
			if again := b.reconcileConsumer(t, wantedConsumer(), stageOwner); again.Action != jetstream.ActionNone {
				t.Errorf("after the repair: got %s (%s), want none", again.Action, again.Fields)
			}
			after, err := b.client.Consumer("RAW", "validate")
			if err != nil {
				t.Fatal(err)
			}
			if !after.Created.Equal(before.Created) {
				t.Error("the consumer was made again and lost its position")
			}
		})
	}
}

func TestConsumerRefusals(t *testing.T) {
	ours := map[string]string{
		jetstream.MetadataPipeline: "shop/orders", jetstream.MetadataStage: "validate", jetstream.MetadataOwnerUID: "uid-2",
	}
	tests := map[string]struct {
		have   natsjs.ConsumerConfig
		action jetstream.Action
		fields string
	}{
		"no owner": {natsjs.ConsumerConfig{Durable: "validate"}, jetstream.ActionNotOwned, ""},
		"another stage": {natsjs.ConsumerConfig{Durable: "validate", Metadata: map[string]string{
			jetstream.MetadataPipeline: "shop/orders", jetstream.MetadataStage: "enrich",
		}}, jetstream.ActionNotOwned, ""},
		"deliver policy": {
			natsjs.ConsumerConfig{Durable: "validate", DeliverPolicy: natsjs.DeliverNewPolicy, AckPolicy: natsjs.AckAllPolicy, Metadata: ours},
			jetstream.ActionImmutable, "deliver_policy: New -> All",
		},
		"ack policy": {
			natsjs.ConsumerConfig{Durable: "validate", AckPolicy: natsjs.AckExplicitPolicy, Metadata: ours},
			jetstream.ActionImmutable, "ack_policy: Explicit -> All",
		},
		"memory": {
			natsjs.ConsumerConfig{Durable: "validate", AckPolicy: natsjs.AckAllPolicy, MemoryStorage: true, Metadata: ours},
			jetstream.ActionImmutable, "mem_storage: true -> false",
		},
	}
	b := start(t)
	b.reconcile(t, wanted(), owner)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := b.js.CreateConsumer(t.Context(), "RAW", test.have); err != nil {
				t.Fatal(err)
			}
			got := b.reconcileConsumer(t, wantedConsumer(), stageOwner)
			if got.Action != test.action || got.Fields.String() != test.fields {
				t.Errorf("got %s %q, want %s %q", got.Action, got.Fields, test.action, test.fields)
			}
			if err := b.client.DeleteConsumer("RAW", "validate"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestConsumersOfListsOnlyTheStages(t *testing.T) {
	b := start(t)
	b.reconcile(t, wanted(), owner)
	b.reconcileConsumer(t, wantedConsumer(), stageOwner)
	if _, err := b.js.CreateConsumer(t.Context(), "RAW", natsjs.ConsumerConfig{Durable: "theirs"}); err != nil {
		t.Fatal(err)
	}
	got, err := b.client.ConsumersOf("RAW", stageOwner)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"validate"}, got); diff != "" {
		t.Error(diff)
	}
	if err := b.client.DeleteConsumer("RAW", "validate"); err != nil {
		t.Fatal(err)
	}
	if err := b.client.DeleteConsumer("RAW", "validate"); err != nil {
		t.Errorf("deleting what is gone: %v", err)
	}
	if _, err := b.client.Consumer("RAW", "validate"); !errors.Is(err, jetstream.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

func TestConsumersReadsManyAtOnce(t *testing.T) {
	b := start(t)
	b.reconcile(t, wanted(), owner)
	var names []string
	for lane := range 300 { // more than a page of the server
		want := wantedConsumer()
		want.Durable, want.FilterSubject = fmt.Sprintf("lane-%d", lane), fmt.Sprintf("orders.raw.%d", lane)
		if _, err := b.client.ApplyConsumer(want.Stream, jetstream.ConsumerConfig(want, stageOwner)); err != nil {
			t.Fatal(err)
		}
		if lane%2 == 0 {
			names = append(names, want.Durable)
		}
	}
	if _, err := b.js.Publish(t.Context(), "orders.raw.298", []byte("x")); err != nil {
		t.Fatal(err)
	}
	var one *jetstream.Consumer
	harness.Eventually(t, 10*time.Second, func() (err error) { // pending a moment after the server confirmed it
		if one, err = b.client.Consumer("RAW", "lane-298"); err == nil && one.Pending != 1 {
			err = fmt.Errorf("got %d pending, want 1", one.Pending)
		}
		return err
	})
	got, err := b.client.Consumers("RAW", append(slices.Clone(names), "gone"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(names)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Error(diff)
	}
	one.Config.Metadata, got["lane-298"].Config.Metadata = nil, nil // the server says its version in one of them
	if diff := cmp.Diff(one, got["lane-298"]); diff != "" {
		t.Errorf("(-one +of many)\n%s", diff)
	}
	if _, err := b.client.Consumers("NONE", names); !errors.Is(err, jetstream.ErrNotFound) {
		t.Errorf("stream that does not exist: got %v, want ErrNotFound", err)
	}
}

// TestLagCountsEventsOfAnyMessage: publishers do not say how many events a message holds.
func TestLagCountsEventsOfAnyMessage(t *testing.T) {
	line := `{"id":"1","source":"s","type":"t"}`
	pretty := "{\n  \"id\": \"1\"\n}\n"
	b := start(t)
	b.reconcile(t, wanted(), owner)
	n := 0
	for name, c := range map[string]struct {
		header nats.Header
		body   string
		each   int64
	}{
		"one":                   {nil, line, 1},
		"lines":                 {nil, strings.Repeat(line+"\n", 1000), 1000},
		"lines, marked":         {nil, "\uFEFF" + strings.Repeat(line+"\r\n", 10), 10},
		"lines, one broken":     {nil, strings.Repeat(line+"\n", 9) + "nope\n\n", 10},
		"NDJSON":                {nats.Header{"content-type": {"application/x-ndjson; charset=utf-8"}}, strings.Repeat(line+"\n", 7), 7},
		"array":                 {nil, "[" + strings.Repeat(line+",", 49) + line + "]", 50},
		"array that is broken":  {nil, "[" + strings.Repeat(line+",", 4) + "{]", 5},
		"spread over lines":     {nil, strings.Repeat(pretty, 3), 3},
		"one, spread":           {nil, pretty, 1},
		"binary, data an array": {nats.Header{"Ce-Id": {"1"}}, "[1,2,3]", 1},
		"no JSON":               {nil, "hello\nworld", 1},
		"nothing":               {nil, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			n++
			consumer := wantedConsumer()
			consumer.Durable, consumer.FilterSubject = fmt.Sprintf("count-%d", n), fmt.Sprintf("orders.raw.%d", n)
			if _, err := b.client.ApplyConsumer(consumer.Stream, jetstream.ConsumerConfig(consumer, stageOwner)); err != nil {
				t.Fatal(err)
			}
			const messages = 20
			for range messages {
				if _, err := b.js.PublishMsg(t.Context(), &nats.Msg{Subject: consumer.FilterSubject, Header: c.header, Data: []byte(c.body)}); err != nil {
					t.Fatal(err)
				}
			}
			harness.Eventually(t, 10*time.Second, func() error {
				have, err := b.client.Consumer("RAW", consumer.Durable)
				if err != nil {
					return err
				}
				lag, err := b.client.Lag(t.Context(), "RAW", have)
				if err == nil && lag.Events != messages*c.each {
					err = fmt.Errorf("got %d events, want %d", lag.Events, messages*c.each)
				}
				return err
			})
		})
	}
}

func TestLagCountsEventsNotFrames(t *testing.T) {
	b := start(t)
	b.reconcile(t, wanted(), owner)
	b.reconcileConsumer(t, wantedConsumer(), stageOwner)
	// The server confirms a message before it tells the consumers, so what was just published
	// is pending a moment later.
	lag := func(when string, want int64) jetstream.Lag {
		t.Helper()
		var l jetstream.Lag
		harness.Eventually(t, 10*time.Second, func() error {
			c, err := b.client.Consumer("RAW", "validate")
			if err != nil {
				return err
			}
			if l, err = b.client.Lag(t.Context(), "RAW", c); err == nil && l.Events != want {
				err = fmt.Errorf("%s: got %d events, want %d", when, l.Events, want)
			}
			return err
		})
		return l
	}
	publish := func(events string) time.Time {
		t.Helper()
		m := nats.NewMsg("orders.raw.x")
		if events != "" {
			m.Header.Set("Millrace-Events", events)
		}
		ack, err := b.js.PublishMsg(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		s, err := b.js.Stream(t.Context(), "RAW")
		if err != nil {
			t.Fatal(err)
		}
		stored, err := s.GetMsg(t.Context(), ack.Sequence)
		if err != nil {
			t.Fatal(err)
		}
		return stored.Time
	}

	if got := lag("empty", 0); got != (jetstream.Lag{}) {
		t.Errorf("empty: got %+v, want nothing", got)
	}
	first := publish("") // a collector's single event
	if got := lag("one", 1); !got.Oldest.Equal(first) {
		t.Errorf("one: the oldest is of %s, want %s", got.Oldest, first)
	}
	second := publish("255")
	lag("two", 256)
	c, err := b.js.Consumer(t.Context(), "RAW", "validate")
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	lag("delivered and not acknowledged", 256)
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := lag("one acknowledged", 255); !got.Oldest.Equal(second) {
		t.Errorf("one acknowledged: the oldest is of %s, want %s", got.Oldest, second)
	}
	for range 3 {
		publish("255")
	}
	lag("four frames", 4*255)
}
