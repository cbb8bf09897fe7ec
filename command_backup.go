package serversession

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/serversession/caddy-server-session/internal/session"
)

func backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup <file> [--force]",
		Short: "Saves all sessions to a file",
		Long: `
Saves the sealed records of all sessions to a file, and the key ring if that is
in the store. Guard the file as you guard the store.`,
		Args: cobra.ExactArgs(1),
		RunE: run((*cliCall).backup),
	}
	cmd.Flags().Bool("force", false, "Replace the file if it is there")
	return cmd
}

func (c *cliCall) backup() (err error) {
	path := c.args[0]
	if _, err := os.Lstat(path); !c.flags.Bool("force") && !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s is there already; --force replaces it", path)
		}
		return err
	}
	// Made with mode 0600. The old file, if there is one, stays until this one
	// is known to be good.
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part")
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	response, err := c.request(http.MethodGet, "backup", nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err = io.Copy(f, &watched{r: response.Body, tell: func(n int64) { c.progress("%s", sizeOf(n)) }}); err != nil {
		return fmt.Errorf("reading the backup: %w; the log of the server says more", err)
	}
	c.progressDone()
	if _, err = f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	p, err := session.VerifyBackup(f)
	if err != nil {
		return err
	}
	if err = errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	if done, err := c.json(&p); done {
		return err
	}
	c.say("saved %d records, %s, to %s", p.Records, sizeOf(p.Bytes), path)
	return nil
}

func restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore <file> [--keep-sessions]",
		Short: "Restores keys and revocations from a backup, and sessions if asked to",
		Long: `
Adds the keys of a backup to the ring and takes over its revocations. Since the
backup would bring back sessions that were ended after it was made, all sessions
are revoked then, those of the running server included: users log in once more.

With --keep-sessions nothing is revoked, and the sessions of the backup that the
store does not have are created.`,
		Args: cobra.ExactArgs(1),
		RunE: run((*cliCall).restore),
	}
	cmd.Flags().Bool("keep-sessions", false, "Create the sessions of the backup, instead of revoking all")
	return cmd
}

func (c *cliCall) restore() error {
	f, err := os.Open(c.args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	path := "restore"
	if c.flags.Bool("keep-sessions") {
		path += "?keep_sessions=1"
	}
	response, err := c.request(http.MethodPost, path, f)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	for d := json.NewDecoder(response.Body); ; {
		var line adminRestore
		if err := d.Decode(&line); err != nil {
			return errNoOutcome
		}
		switch {
		case line.Error != "":
			return errors.New(line.Error)
		case line.Progress != nil:
			c.progress("%d records, %s", line.Progress.Records, sizeOf(line.Progress.Bytes))
		case line.Outcome != nil:
			c.progressDone()
			return c.restored(line.Outcome)
		}
	}
}

func (c *cliCall) restored(res *session.Restored) error {
	if done, err := c.json(res); done {
		return err
	}
	c.say("added %d keys", res.Keys)
	if res.Revoked {
		c.say("revoked all sessions; --keep-sessions would have kept them")
		return nil
	}
	c.say("created %d records; %d were there, %d have expired, %d are under keys that this server does not have",
		res.Created, res.Existing, res.Expired, res.Foreign)
	return nil
}

// watched tells how much was read, now and then.
type watched struct {
	r    io.Reader
	tell func(n int64)

	n    int64
	last time.Time
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.n += int64(n)
	if w.last.IsZero() {
		w.last = time.Now()
	}
	if time.Since(w.last) >= progressInterval {
		w.last = time.Now()
		w.tell(w.n)
	}
	return n, err
}
