package serversession

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/internal/session"
)

func (c *adminCall) backup() error {
	c.takesLong()
	c.w.Header().Set("Content-Type", "application/octet-stream")
	c.w.Header().Set("Content-Disposition", `attachment; filename="server_session.backup"`)
	p, err := c.open.manager.Backup(c.r.Context(), c.w, nil)
	if err != nil {
		c.log.Error("backup", zap.Error(err))
		// Whoever reads must not take what came so far for all.
		panic(http.ErrAbortHandler)
	}
	c.log.Info("made a backup", zap.Int("records", p.Records), zap.Int64("bytes", p.Bytes))
	return nil
}

// adminRestore is a line in the answer of POST /server_session/restore. The
// last one has an outcome or an error.
type adminRestore struct {
	Progress *session.Progress `json:"progress,omitempty"`
	Outcome  *session.Restored `json:"outcome,omitempty"`
	Error    string            `json:"error,omitempty"`
}

func (c *adminCall) restore() error {
	keep, err := c.flag("keep_sessions")
	if err != nil {
		return err
	}
	c.takesLong()
	// It is checked to its end before anything is written, so it has to be read
	// twice.
	file, remove, err := spool(c.r.Body)
	if err != nil {
		return err
	}
	defer remove()
	if _, err := session.VerifyBackup(file); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("reading the backup: %w", err)
	}
	ctx, lines := c.stream()
	defer lines.close()
	res, err := c.open.manager.Restore(ctx, file, keep, func(p session.Progress) {
		lines.nowAndThen(adminRestore{Progress: &p})
	})
	if err != nil {
		c.log.Error("restore", zap.Error(err))
		lines.send(adminRestore{Error: err.Error()})
		return nil
	}
	c.log.Warn("restored a backup", zap.Bool("kept_sessions", keep), zap.Any("outcome", res))
	lines.send(adminRestore{Outcome: &res})
	return nil
}

// spool puts a body into a temporary file that only its owner can read.
func spool(body io.Reader) (f *os.File, remove func(), err error) {
	f, err = os.CreateTemp("", "server_session-restore-*")
	if err != nil {
		return nil, nil, fmt.Errorf("storing the backup: %w", err)
	}
	// Where that can be, it has no name any more while it is used: nothing stays
	// behind if the process is killed.
	gone := os.Remove(f.Name()) == nil
	remove = func() {
		_ = f.Close()
		if !gone {
			_ = os.Remove(f.Name())
		}
	}
	if _, err = io.Copy(f, body); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		remove()
		return nil, nil, fmt.Errorf("storing the backup: %w", err)
	}
	return f, remove, nil
}

// lines is an answer of JSON values, one a line, that are sent at once.
type lines struct {
	c     *adminCall
	last  time.Time
	close context.CancelFunc // ends the context of who works
	lost  bool               // nobody reads
}

const (
	// progressInterval is how often somebody who waits is told how far work came.
	progressInterval = 500 * time.Millisecond

	// lineTimeout is how long a line waits for somebody to read those before it.
	lineTimeout = 10 * time.Second
)

// stream begins an answer of lines. The context ends with the request's, or when
// nobody reads what is sent.
func (c *adminCall) stream() (context.Context, *lines) {
	c.w.Header().Set("Content-Type", "application/x-ndjson")
	ctx, cancel := context.WithCancel(c.r.Context())
	return ctx, &lines{c: c, last: time.Now(), close: cancel}
}

// send writes a line. A client that has gone is noticed by the request's context;
// one that is there and does not read must not hold up who works, either.
func (l *lines) send(v any) {
	if l.lost {
		return
	}
	l.last = time.Now()
	rc := http.NewResponseController(l.c.w)
	// A connection without deadlines is waited for.
	_ = rc.SetWriteDeadline(l.last.Add(lineTimeout))
	err := json.NewEncoder(l.c.w).Encode(v)
	if err == nil {
		err = rc.Flush()
	}
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		l.lost = true
		l.close()
		return
	}
	_ = rc.SetWriteDeadline(time.Time{})
}

// nowAndThen writes a line unless one was written just before.
func (l *lines) nowAndThen(v any) {
	if time.Since(l.last) >= progressInterval {
		l.send(v)
	}
}

var errNoOutcome = errors.New("the answer ended without an outcome; the log of the server says more")
