package postgres

import "io"

// lines reads rows one after another.
type lines struct {
	rows []any
	rest []byte // of the row before rows
}

// Read implements io.Reader.
func (l *lines) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(l.rest) == 0 {
			if len(l.rows) == 0 {
				break
			}
			l.rest, l.rows = l.rows[0].([]byte), l.rows[1:]
		}
		k := copy(p[n:], l.rest)
		l.rest, n = l.rest[k:], n+k
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}
