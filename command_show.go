package serversession

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [--count]",
		Short: "Shows the store and the keys of a running server",
		Args:  cobra.NoArgs,
		RunE:  run((*cliCall).status),
	}
	cmd.Flags().Bool("count", false, "Count the sessions, for which each record is looked at")
	return cmd
}

func (c *cliCall) status() error {
	path := "status"
	if c.flags.Bool("count") {
		path += "?count=1"
	}
	var s adminStatus
	if err := c.ask(http.MethodGet, path, nil, &s); err != nil {
		return err
	}
	if done, err := c.json(&s); done {
		return err
	}
	rows := [][]string{
		{"store", s.Store},
		{"open for", ago(s.OpenSince)},
		{"last poll", fmt.Sprintf("%.1f s ago", s.PollAge)},
		{"cache", fmt.Sprintf("%d sessions, at most %s", s.Cached, sizeOf(s.CacheBytes))},
		{"connected", fmt.Sprintf("%d sessions", s.Connected)},
		{"keys", fmt.Sprintf("%d, in %s", len(s.Keys), keysPlace(s.KeyFile))},
	}
	if n := s.Counts; n != nil {
		rows = append(rows, []string{"sessions", fmt.Sprintf("%d, %s", n.Sessions, sizeOf(n.Bytes))})
		for _, state := range slices.Sorted(maps.Keys(n.States)) {
			rows = append(rows, []string{"  " + state, strconv.Itoa(n.States[state])})
		}
		for _, key := range slices.Sorted(maps.Keys(n.Keys)) {
			rows = append(rows, []string{"  key " + key, strconv.Itoa(n.Keys[key])})
		}
		if n.Unreadable > 0 {
			rows = append(rows, []string{"unreadable", strconv.Itoa(n.Unreadable)})
		}
	}
	return c.table(rows)
}

func keysPlace(file bool) string {
	if file {
		return "the key file"
	}
	return "the store"
}

func sessionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sessions [--limit <n>] [--handle <prefix>]",
		Short: "Lists sessions",
		Long: `
Lists sessions, never what is in them. SCOPE is the name of the session cookie
and the host it belongs to, or a hash of these as long as no such session was
used since the store was opened. A session whose token is being replaced is
listed twice, once as frozen or forwarding.`,
		Args: cobra.NoArgs,
		RunE: run((*cliCall).sessions),
	}
	cmd.Flags().Int("limit", defaultListing, "How many to list at most; 0 is all")
	cmd.Flags().String("handle", "", "List sessions whose handle begins like this")
	return cmd
}

func (c *cliCall) sessions() error {
	limit := c.flags.Int("limit")
	if limit < 0 {
		return fmt.Errorf("--limit %d is negative", limit)
	}
	all := []adminSession{}
	more := false
	for cursor := ""; ; {
		want := maxListing
		if limit > 0 {
			want = min(want, limit-len(all))
		}
		query := url.Values{"limit": {strconv.Itoa(want)}, "cursor": {cursor}, "handle": {c.flags.String("handle")}}
		var page adminSessions
		if err := c.ask(http.MethodGet, "sessions?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		all = append(all, page.Sessions...)
		cursor = page.Cursor
		if more = cursor != ""; !more || limit > 0 && len(all) >= limit {
			break
		}
	}
	if done, err := c.json(all); done {
		return err
	}
	rows := [][]string{{"HANDLE", "SCOPE", "STATE", "CREATED", "LAST SEEN", "EXPIRES IN", "SIZE", "COOKIES", "KEY", "SUBJECT"}}
	for i := range all {
		s := &all[i]
		rows = append(rows, []string{
			s.Handle, s.Scope, s.State, s.Created.Local().Format(time.DateTime), ago(s.LastSeen), left(s.Expires),
			sizeOf(int64(s.Size)), strconv.Itoa(s.Cookies), s.Key, yes(s.Subject),
		})
	}
	if err := c.table(rows); err != nil {
		return err
	}
	if more {
		fmt.Fprintln(c.err, "there are more; see --limit")
	}
	return nil
}

func sizeOf(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// ago is how long ago t was, in the two largest units.
func ago(t time.Time) string { return roughly(time.Since(t)) }

func left(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return roughly(time.Until(t))
}

func roughly(d time.Duration) string {
	switch d = max(d, 0); {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}
