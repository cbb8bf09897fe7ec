package serversession

import (
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
	lines := c.stream()
	res, err := c.open.manager.Restore(c.r.Context(), file, keep, func(p session.Progress) {
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
	remove = func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
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
	c    *adminCall
	last time.Time
}

// progressInterval is how often somebody who waits is told how far work came.
const progressInterval = 500 * time.Millisecond

func (c *adminCall) stream() *lines {
	c.w.Header().Set("Content-Type", "application/x-ndjson")
	return &lines{c: c, last: time.Now()}
}

// send writes a line. That nobody reads it is noticed by the request's context.
func (l *lines) send(v any) {
	l.last = time.Now()
	if err := json.NewEncoder(l.c.w).Encode(v); err == nil {
		_ = http.NewResponseController(l.c.w).Flush()
	}
}

// nowAndThen writes a line unless one was written just before.
func (l *lines) nowAndThen(v any) {
	if time.Since(l.last) >= progressInterval {
		l.send(v)
	}
}

var errNoOutcome = errors.New("the answer ended without an outcome; the log of the server says more")
