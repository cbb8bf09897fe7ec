package serversession

import (
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

func revokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke --session <handle> | --everything | --host <host> [--name <name>] [--domain] [--subject <subject>]",
		Short: "Ends sessions",
		Long: `
Ends a session by its handle, all sessions of a host, those of one user on a
host, or everything. It asks for no confirmation; it says what it did. Sessions
end on every node that shares the store within a second.

--host ends the sessions of that very host; with --domain also those that are
shared below it ('cookie { domain ... }').`,
		Args: cobra.NoArgs,
		RunE: run((*cliCall).revoke),
	}
	flags := cmd.Flags()
	flags.String("session", "", "Handle of the session to end")
	flags.Bool("everything", false, "End all sessions in the store")
	flags.String("host", "", "End the sessions of this host")
	flags.String("name", "", "Name that the directive has there (defaults to '"+defaultName+"')")
	flags.Bool("domain", false, "End those that are shared below the host, too")
	flags.String("subject", "", "End only those of this user")
	return cmd
}

func (c *cliCall) revoke() error {
	q := adminRevoke{
		Session: c.flags.String("session"), Everything: c.flags.Bool("everything"),
		Host: c.flags.String("host"), Name: c.flags.String("name"),
		Domain: c.flags.Bool("domain"),
	}
	if c.flags.Changed("subject") {
		subject := c.flags.String("subject")
		q.Subject = &subject
	}
	if err := q.check(); err != nil {
		return err
	}
	var done adminRevoked
	if err := c.ask(http.MethodPost, "revoke", &q, &done); err != nil {
		return err
	}
	if printed, err := c.json(&done); printed {
		return err
	}
	switch {
	case done.Everything:
		c.say("revoked all sessions")
	case len(done.Scopes) == 0:
		c.say("ended session %s", q.Session)
	}
	known := false
	for _, s := range done.Scopes {
		whose := "the sessions"
		if done.Subject != "" {
			whose = "the sessions of " + done.Subject
		}
		c.say("revoked %s in %s", whose, s.Scope)
		known = known || s.Known
	}
	if len(done.Scopes) > 0 && !known {
		c.say("no such session was used since the store was opened; is the host right?")
	}
	return nil
}

func keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Shows or changes the key ring",
		Args:  cobra.NoArgs,
		RunE:  run((*cliCall).keys),
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "rotate",
			Short: "Adds a key, which makes new tokens from then on",
			Long: `
Adds a key to the ring, which makes new tokens after two seconds. Sessions under
older keys go on; keys that no session needs any more are taken out.`,
			Args: cobra.NoArgs,
			RunE: run((*cliCall).rotateKeys),
		},
		&cobra.Command{
			Use:   "drop <id>",
			Short: "Takes a key out of the ring, which ends the sessions made under it",
			Args:  cobra.ExactArgs(1),
			RunE:  run((*cliCall).dropKey),
		},
	)
	return cmd
}

func (c *cliCall) keys() error { return c.changeKeys(http.MethodGet, "keys", "") }

func (c *cliCall) rotateKeys() error {
	return c.changeKeys(http.MethodPost, "keys/rotate", "added a key")
}

func (c *cliCall) dropKey() error {
	return c.changeKeys(http.MethodDelete, "keys/"+url.PathEscape(c.args[0]), "dropped key "+c.args[0])
}

// changeKeys prints the ring that a request answers with.
func (c *cliCall) changeKeys(method, path, did string) error {
	var keys []adminKey
	if err := c.ask(method, path, nil, &keys); err != nil {
		return err
	}
	if done, err := c.json(keys); done {
		return err
	}
	if did != "" {
		c.say("%s", did)
	}
	rows := [][]string{{"KEY", "CREATED", "MAKES TOKENS"}}
	for _, k := range keys {
		created := "" // those of a key file have no date
		if !k.Created.IsZero() {
			created = k.Created.Local().Format(time.DateTime)
		}
		rows = append(rows, []string{k.ID, created, yes(k.Active)})
	}
	return c.table(rows)
}
