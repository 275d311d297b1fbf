package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/config"
)

var (
	errConflict = errors.New("another worker wrote first")
	errNoBucket = errors.New("the bucket does not exist: the operator makes it")
)

// Codes of the server (server/errors.json).
const (
	codeNoMessage      = 10037
	codeNoStream       = 10059
	codeWrongSequence  = 10071
	codeSequenceInWork = 10164 // another write of the same key is on its way
)

// store is the key that holds the table.
type store struct {
	conn *nats.Conn
	// subject is that of the key; put writes it, and get reads from the bucket.
	subject, put, get string
	timeout           time.Duration
}

func newStore(o *Options) store {
	return store{
		conn: o.Conn, subject: config.KeySubject(o.Bucket, o.Key), put: o.Domain.Put(o.Bucket, o.Key),
		get: o.Domain.API("STREAM.MSG.GET.KV_" + o.Bucket), timeout: max(o.Expire/4, time.Second),
	}
}

type apiError struct {
	Code        int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.Code) }

// read has the leader answer, so that it sees what was written last. A key that is not there
// is an empty table with revision 0.
func (s store) read(ctx context.Context) (t Table, revision uint64, err error) {
	question, err := json.Marshal(map[string]string{"last_by_subj": s.subject})
	if err != nil {
		return Table{}, 0, err
	}
	var answer struct {
		Error   *apiError `json:"error"`
		Message *struct {
			Sequence uint64 `json:"seq"`
			Data     []byte `json:"data"`
		} `json:"message"`
	}
	if err := s.ask(ctx, nats.NewMsg(s.get), question, &answer); err != nil {
		return Table{}, 0, fmt.Errorf("read the leases: %w", err)
	}
	switch {
	case answer.Error != nil && answer.Error.Code == codeNoMessage:
		return Table{}, 0, nil
	case answer.Error != nil && answer.Error.Code == codeNoStream:
		return Table{}, 0, fmt.Errorf("read the leases: %w", errNoBucket)
	case answer.Error != nil:
		return Table{}, 0, fmt.Errorf("read the leases: %w", answer.Error)
	case answer.Message == nil:
		return Table{}, 0, errors.New("read the leases: the answer has no message")
	case len(answer.Message.Data) == 0: // the key was deleted
		return Table{}, answer.Message.Sequence, nil
	}
	if err := json.Unmarshal(answer.Message.Data, &t); err != nil {
		return Table{}, 0, fmt.Errorf("what %s holds is no table of leases: delete the key: %w", s.subject, err)
	}
	return t, answer.Message.Sequence, nil
}

// write stores t when the key still has the revision; errConflict when it has not.
func (s store) write(ctx context.Context, t Table, revision uint64) (uint64, error) {
	value, err := json.Marshal(t)
	if err != nil {
		return 0, err
	}
	m := nats.NewMsg(s.put)
	m.Header.Set("Nats-Expected-Last-Subject-Sequence", strconv.FormatUint(revision, 10))
	var answer struct {
		Error    *apiError `json:"error"`
		Stream   string    `json:"stream"`
		Sequence uint64    `json:"seq"`
	}
	if err := s.ask(ctx, m, value, &answer); err != nil {
		return 0, fmt.Errorf("write the leases: %w", err)
	}
	switch {
	case answer.Error != nil && (answer.Error.Code == codeWrongSequence || answer.Error.Code == codeSequenceInWork):
		return 0, errConflict
	case answer.Error != nil:
		return 0, fmt.Errorf("write the leases: %w", answer.Error)
	case answer.Stream == "":
		return 0, errors.New("write the leases: the answer is no PubAck")
	}
	return answer.Sequence, nil
}

func (s store) ask(ctx context.Context, m *nats.Msg, data []byte, answer any) error {
	within, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	m.Data = data
	raw, err := s.conn.RequestMsgWithContext(within, m)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return errors.New("JetStream is not available")
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer on %s within %s: NATS is away, or the worker may not publish there", m.Subject, s.timeout)
	case err != nil:
		return err
	}
	return json.Unmarshal(raw.Data, answer)
}
