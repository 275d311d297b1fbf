package collect

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// BucketBytes is the size of the bucket in an account that demands one.
const BucketBytes = 128 << 20

// errCodeMaxBytesRequired is the server's answer in an account with max_bytes_required.
const errCodeMaxBytesRequired jetstream.ErrorCode = 10113

// OpenBucket opens the bucket of the checkpoints, and makes it when it is not there.
func OpenBucket(ctx context.Context, js jetstream.JetStream, name string) (jetstream.KeyValue, error) {
	kv, err := js.KeyValue(ctx, name)
	if !errors.Is(err, jetstream.ErrBucketNotFound) {
		return kv, wrapBucket(name, err)
	}
	config := jetstream.KeyValueConfig{
		Bucket: name, Description: "Where Millrace's collectors stand.", History: 1, Storage: jetstream.FileStorage,
	}
	kv, err = js.CreateKeyValue(ctx, config)
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == errCodeMaxBytesRequired {
		config.MaxBytes = BucketBytes
		kv, err = js.CreateKeyValue(ctx, config)
	}
	if errors.As(err, &api) {
		return nil, fmt.Errorf("checkpoint bucket %s cannot be made: %w; make it yourself, with a size that the account grants: "+
			"nats kv add %s --history=1 --storage=file --max-bucket-size=%d", name, err, name, BucketBytes)
	}
	return kv, wrapBucket(name, err)
}

func wrapBucket(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("checkpoint bucket %s: %w", name, err)
}
