package http

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage/call"
)

// secretPrefix stands before a secret in the form of Standard Webhooks, which is base64 then.
const secretPrefix = "whsec_"

// id names a request: the same events at the same places are the same request.
func (s *Stage) id(items []item, body []byte) string {
	first, last := items[0].origin, items[len(items)-1].origin
	h := xxh3.New()
	stream := ""
	if first.Input < len(s.streams) {
		stream = s.streams[first.Input]
	}
	_, _ = h.WriteString(s.scope + "\x00" + stream + "\x00")
	var places [24]byte
	binary.BigEndian.PutUint64(places[:], first.Sequence)
	binary.BigEndian.PutUint64(places[8:], uint64(first.Index))
	binary.BigEndian.PutUint64(places[16:], uint64(last.Index))
	_, _ = h.Write(places[:])
	_, _ = h.Write(body)
	sum := h.Sum128().Bytes()
	return "msg_" + hex.EncodeToString(sum[:])
}

// post sends one request. An error that is no refusal is the fault of the moment.
func (s *Stage) post(ctx context.Context, items []item) error {
	body := s.body(items)
	r, err := s.request(ctx, s.id(items, body), body)
	if err != nil {
		return err
	}
	if err := s.breaker.Allow(); err != nil {
		return err
	}
	began := s.now()
	answer, err := s.client.Do(r) //nolint:bodyclose // call.Read closes it, in judge
	if err != nil {
		s.breaker.Done(began, false)
		return s.said(err, r.URL)
	}
	err = s.judge(answer)
	blamed := (*refusal)(nil)
	s.breaker.Done(began, err == nil || errors.As(err, &blamed))
	return err
}

// request reads what is secret anew: a Secret may have changed.
func (s *Stage) request(ctx context.Context, id string, body []byte) (*http.Request, error) {
	c := &s.settings
	url := c.URL
	if c.URLFile != "" {
		var err error
		if url, err = secret(c.URLFile); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		if c.URLFile != "" {
			err = errors.New("it is secret, and no URL")
		}
		return nil, fmt.Errorf("the URL of the sink cannot be used: %w", err)
	}
	r.Header.Set("Content-Type", "application/cloudevents-batch+json; charset=utf-8")
	if c.Format == config.FormatNDJSON {
		r.Header.Set("Content-Type", "application/x-ndjson")
	}
	r.Header.Set("User-Agent", "millrace")
	r.Header.Set("Idempotency-Key", `"`+id+`"`)
	r.Header.Set("Webhook-Id", id)
	for _, h := range c.Headers {
		value := h.Value
		if h.ValueFile != "" {
			if value, err = secret(h.ValueFile); err != nil {
				return nil, err
			}
		}
		r.Header.Set(h.Name, value)
	}
	if c.SignatureFile == "" {
		return r, nil
	}
	key, err := secret(c.SignatureFile)
	if err != nil {
		return nil, err
	}
	at := strconv.FormatInt(s.now().Unix(), 10)
	r.Header.Set("Webhook-Timestamp", at)
	r.Header.Set("Webhook-Signature", signature(key, id, at, body))
	return r, nil
}

// signature is that of Standard Webhooks 1.0: HMAC-SHA256 of the id, the timestamp and the body.
func signature(key, id, at string, body []byte) string {
	raw := []byte(key)
	if text, ok := strings.CutPrefix(key, secretPrefix); ok {
		if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
			raw = decoded
		}
	}
	mac := hmac.New(sha256.New, raw)
	_, _ = mac.Write([]byte(id + "." + at + "."))
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func secret(file string) (string, error) {
	value, err := call.Secret(file)
	if err != nil {
		return "", fmt.Errorf("read a secret of the sink: %w", err)
	}
	return value, nil
}
