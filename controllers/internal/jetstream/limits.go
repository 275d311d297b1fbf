package jetstream

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/jsm.go/api"
	"k8s.io/apimachinery/pkg/api/resource"
)

// The codes of refusals because of a limit. Server source: server/errors.json.
const (
	tooManyConsumers = 10026
	tooManyStreams   = 10027
	noMemory         = 10028
	noStorage        = 10047
	noTier           = 10120
	streamTooLarge   = 10122
)

// LimitError is a refusal because of a limit of the account or the server. The server does not say which one.
type LimitError struct {
	// Says names the limit, what was asked for, and what to change.
	Says string
	Err  error
}

func (e *LimitError) Error() string { return e.Says + " (" + e.Err.Error() + ")" }

func (e *LimitError) Unwrap() error { return e.Err }

// ExplainStream makes a LimitError of the refusal of a stream; other errors stay as they are. have is the stream
// as it is, or nil.
func (c *Client) ExplainStream(err error, change StreamChange, have *Stream) error {
	config, code := change.Config, codeOf(err)
	if !slices.Contains([]uint16{tooManyStreams, noMemory, noStorage, noTier, streamTooLarge}, code) {
		return err
	}
	stats, unknown := c.accountInfo()
	if unknown != nil {
		return err
	}
	tier, known := tierOf(stats, config.Replicas)
	switch {
	case !known:
		return &LimitError{fmt.Sprintf("the account has limits for streams of the tiers %s, and none for %d replicas: change spec.streams.replicas, or the account",
			strings.Join(slices.Sorted(maps.Keys(stats.Tiers)), ", "), config.Replicas), err}
	case code == tooManyStreams:
		return &LimitError{fmt.Sprintf("the account has %d streams of at most %d: raise its limit, or delete streams that nobody needs",
			tier.Streams, tier.Limits.MaxStreams), err}
	}
	r := roomOf(tier, config.Storage)
	if have != nil {
		r.reserved -= min(r.reserved, max(have.Config.MaxBytes, 0)*r.copies(stats, have.Config.Replicas))
	}
	return &LimitError{r.explain(change, r.copies(stats, config.Replicas)), err}
}

// ExplainConsumer makes a LimitError of the refusal of a consumer; other errors stay as they are.
func (c *Client) ExplainConsumer(err error) error {
	if codeOf(err) != tooManyConsumers {
		return err
	}
	limit := "the account or the server has a limit of consumers in a stream"
	if a, unknown := c.Account(); unknown == nil && a.Limits.MaxConsumers > 0 {
		limit = fmt.Sprintf("the account allows %d consumers in a stream", a.Limits.MaxConsumers)
	}
	return &LimitError{limit + ", and each lane of a stage needs one: raise the limit, or have fewer stages read the stream", err}
}

// codeOf is the code of a refusal, or 0.
func codeOf(err error) uint16 {
	var refusal api.ApiError
	if !errors.As(err, &refusal) {
		return 0
	}
	return refusal.ErrCode
}

// tierOf is what counts for streams of some replicas: the whole account, or its tier of this name.
func tierOf(stats *api.JetStreamAccountStats, replicas int) (api.JetStreamTier, bool) {
	if len(stats.Tiers) == 0 {
		return stats.JetStreamTier, true
	}
	tier, ok := stats.Tiers[fmt.Sprintf("R%d", replicas)]
	return tier, ok
}

// room is what an account has of one kind of storage, in bytes; a limit below 0 is none.
type room struct {
	kind            string
	stream, account int64 // the most that one stream, and all together, may reserve
	reserved        int64
}

func roomOf(tier api.JetStreamTier, storage api.StorageType) room {
	l := tier.Limits
	r := room{"file storage", l.StoreMaxStreamBytes, l.MaxStore, int64(tier.ReservedStore)}
	if storage == api.MemoryStorage {
		r = room{"memory", l.MemoryMaxStreamBytes, l.MaxMemory, int64(tier.ReservedMemory)}
	}
	if r.stream == 0 { // the server takes it for none
		r.stream = -1
	}
	return r
}

// copies is how often a stream counts: limits of a tier are those of one copy.
func (room) copies(stats *api.JetStreamAccountStats, replicas int) int64 {
	if len(stats.Tiers) > 0 {
		return 1
	}
	return int64(max(replicas, 1))
}

// explain says which limit a stream meets. What no limit of the account forbids, the server has no room for.
func (r room) explain(change StreamChange, copies int64) string {
	asked, size := change.Config.MaxBytes, "spec.streams.maxBytes"
	text := fmt.Sprintf("%s is %s", size, quantity(asked))
	if change.Bucket != "" {
		text, size = "the bucket of "+change.Bucket+" takes "+quantity(asked), "spec.streams.maxBytes of Pipelines in the account"
	}
	if copies > 1 {
		text += fmt.Sprintf(" for each of %d replicas", copies)
	}
	overStream := r.stream >= 0 && asked > r.stream
	overAccount := r.account >= 0 && asked > (r.account-r.reserved)/copies
	if !overStream && !overAccount {
		return fmt.Sprintf("%s of %s, and the server has less than that left (max_file_store, max_memory_store): lower %s, or give the server more",
			text, r.kind, size)
	}
	var limits []string
	if r.stream >= 0 {
		limits = append(limits, quantity(r.stream)+" a stream")
	}
	if r.account >= 0 {
		limits = append(limits, fmt.Sprintf("%s in all, of which other streams have %s", quantity(r.account), quantity(r.reserved)))
	}
	return fmt.Sprintf("%s, and the account allows %s of %s: lower %s, or raise the limits of the account",
		text, r.kind, strings.Join(limits, " and "), size)
}

func quantity(bytes int64) string { return resource.NewQuantity(bytes, resource.BinarySI).String() }
