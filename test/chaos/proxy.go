package chaos

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
)

// proxy stands between NATS clients and the server, and may swallow what a client publishes.
type proxy struct {
	listener net.Listener
	server   string
	all      sync.WaitGroup
	// swallow says whether a publish on subject is not to arrive.
	swallow   func(subject []byte) bool
	swallowed atomic.Int64
}

func newProxy(ctx context.Context, server string, swallow func(subject []byte) bool) (*proxy, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, server: server, swallow: swallow}
	p.all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.all.Go(func() { p.serve(ctx, client) })
		}
	})
	return p, nil
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

// close takes no more clients, and waits for those that are there to go.
func (p *proxy) close() {
	_ = p.listener.Close()
	p.all.Wait()
}

func (p *proxy) serve(ctx context.Context, client net.Conn) {
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() })
	both.Go(func() { _ = p.filter(server, client); _ = server.Close() })
	both.Wait()
}

// filter passes on what a client sends, without what is swallowed. It knows of the protocol
// that PUB and HPUB have a body whose length is the last word of the line.
func (p *proxy) filter(server io.Writer, client io.Reader) error {
	in, out := bufio.NewReaderSize(client, 1<<16), bufio.NewWriterSize(server, 1<<16)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return err
		}
		words := bytes.Fields(line)
		body := 0
		if verb := string(bytes.ToUpper(words[0])); verb == "PUB" || verb == "HPUB" {
			if body, err = strconv.Atoi(string(words[len(words)-1])); err != nil {
				return fmt.Errorf("%q: %w", line, err)
			}
			body += len("\r\n")
			if p.swallow(words[1]) {
				p.swallowed.Add(1)
				if _, err := in.Discard(body); err != nil {
					return err
				}
				continue
			}
		}
		_, err1 := out.Write(line)
		_, err2 := io.CopyN(out, in, int64(body))
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}
