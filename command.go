package serversession

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "server-session",
		Short: "Shows, ends, saves and moves the sessions of a running server",
		Long: `
Looks after the sessions that server_session keeps.

All commands talk to the admin API of a running Caddy, which is found like
that of 'caddy reload': at '` + caddy.DefaultAdminListen + `', at --address, or at the
address that is in the file given with --config. The store itself belongs to
the running server; nothing here opens it beside it.

No command shows a cookie, a token or a key. Sessions are named by handles,
which are also what logs have, and which give no access.`,
		CobraFunc: func(cmd *cobra.Command) {
			flags := cmd.PersistentFlags()
			flags.String("address", "", "Address of the administration API listener (if --config is not used)")
			flags.StringP("config", "c", "", "Configuration file (if --address is not used)")
			flags.StringP("adapter", "a", "", "Name of config adapter to apply (if --config is used)")
			flags.Bool("json", false, "Print JSON, for programs")
			cmd.AddCommand(
				statusCommand(), sessionsCommand(), revokeCommand(), keysCommand(),
				backupCommand(), restoreCommand(), copyCommand(),
			)
		},
	})
}

// cliCall is one run of a command.
type cliCall struct {
	flags    caddycmd.Flags
	args     []string
	out, err io.Writer

	shown string // the last line of progress
}

// run makes the function of a command from one that gets its call.
func run(f func(*cliCall) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return caddycmd.WrapCommandFuncForCobra(func(flags caddycmd.Flags) (int, error) {
			err := f(&cliCall{flags: flags, args: args, out: cmd.OutOrStdout(), err: cmd.ErrOrStderr()})
			if err != nil {
				return caddy.ExitCodeFailedStartup, err
			}
			return caddy.ExitCodeSuccess, nil
		})(cmd, args)
	}
}

// request asks the admin API of the running server. The body of the response
// is to be closed.
func (c *cliCall) request(method, path string, body io.Reader) (*http.Response, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(
		c.flags.String("address"), nil, c.flags.String("config"), c.flags.String("adapter"))
	if err != nil {
		return nil, fmt.Errorf("couldn't determine admin API address: %w", err)
	}
	return caddycmd.AdminAPIRequest(address, method, adminPath+path, make(http.Header), body)
}

// ask is request for an answer that is one JSON value.
func (c *cliCall) ask(method, path string, body, answer any) error {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = strings.NewReader(string(b))
	}
	response, err := c.request(method, path, reader)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("decoding the server's answer: %w", err)
	}
	return nil
}

// json prints v if --json asks for that, and reports whether it does.
func (c *cliCall) json(v any) (bool, error) {
	if !c.flags.Bool("json") {
		return false, nil
	}
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	return true, e.Encode(v)
}

// table prints rows in columns.
func (c *cliCall) table(rows [][]string) error {
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	return t.Flush()
}

// say prints for people; with --json nothing but JSON goes to the output.
func (c *cliCall) say(format string, args ...any) {
	if !c.flags.Bool("json") {
		fmt.Fprintf(c.out, format+"\n", args...)
	}
}

// progress shows how far work came, on one line if somebody looks on.
func (c *cliCall) progress(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if line == c.shown {
		return
	}
	c.shown = line
	if f, ok := c.err.(*os.File); ok && isTerminal(f) {
		fmt.Fprintf(c.err, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(c.err, line)
}

// progressDone ends the line of progress.
func (c *cliCall) progressDone() {
	if f, ok := c.err.(*os.File); ok && isTerminal(f) {
		fmt.Fprintln(c.err)
	}
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
