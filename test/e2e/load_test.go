package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"k8s.io/apimachinery/pkg/api/resource"
)

// publishSteadily publishes numbered events at a rate, in messages of 50, for a time, and returns how many.
func publishSteadily(ctx context.Context, js jetstream.JetStream, subject string, perSecond int, during time.Duration) (events int, err error) {
	const perMessage = 50
	ticker := time.NewTicker(time.Second * perMessage / time.Duration(perSecond))
	defer ticker.Stop()
	for start := time.Now(); time.Since(start) < during; {
		var body bytes.Buffer
		for i := events; i < events+perMessage; i++ {
			fmt.Fprintf(&body, `{"id":"n-%d","source":"/load","type":"app.log","severitynumber":9,"partitionkey":"k%d","body":"request served"}`+"\n", i, i%97)
		}
		m := nats.NewMsg(subject)
		m.Data = body.Bytes()
		m.Header.Set("Content-Type", "application/x-ndjson")
		m.Header.Set(nats.MsgIdHdr, subject+":"+strconv.Itoa(events))
		if _, err := js.PublishMsg(ctx, m); err != nil {
			return events, fmt.Errorf("publish events from %d: %w", events, err)
		}
		events += perMessage
		select {
		case <-ctx.Done():
			return events, ctx.Err()
		case <-ticker.C:
		}
	}
	return events, nil
}

// quantity reads a number as Kubernetes writes it.
func quantity(text string) (int64, error) {
	q, err := resource.ParseQuantity(text)
	return q.Value(), err
}

// trusting is a transport that takes any certificate: it stands for somebody who does not ask who answers.
func trusting() http.RoundTripper {
	return &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
}
