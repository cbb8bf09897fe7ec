package serversession

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// unread is the connection of a client that has stopped to read.
type unread struct {
	httptest.ResponseRecorder
	deadline chan struct{}
}

func (u *unread) SetWriteDeadline(at time.Time) error {
	if !at.IsZero() {
		time.AfterFunc(time.Until(at), func() { close(u.deadline) })
	}
	return nil
}

func (u *unread) Write([]byte) (int, error) {
	<-u.deadline
	return 0, os.ErrDeadlineExceeded
}

// A client that is there and does not read holds up no work: a copy that waits
// for it would neither follow nor let Caddy end.
func TestLinesThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &adminCall{
			w: &unread{deadline: make(chan struct{})},
			r: httptest.NewRequestWithContext(t.Context(), http.MethodPost, adminPath+"copy", nil),
		}
		c.w.(*unread).HeaderMap = make(http.Header)
		ctx, lines := c.stream()
		defer lines.close()
		if err := ctx.Err(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range 3 {
			lines.send(adminCopied{})
		}
		if took := time.Since(began); took > lineTimeout {
			t.Errorf("it took %v", took)
		}
		if ctx.Err() == nil {
			t.Error("the work goes on for nobody")
		}
	})
}

// A process that is killed during a restore leaves no backup behind.
func TestSpooledBackupHasNoName(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	f, remove, err := spool(strings.NewReader("backup"))
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || runtime.GOOS != "windows" && len(left) > 0 {
		t.Errorf("there is %v, %v", left, err)
	}
	if got, err := io.ReadAll(f); string(got) != "backup" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	remove()
	if _, err := f.Stat(); err == nil {
		t.Error("it is open")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("there is %v, %v", left, err)
	}
}
