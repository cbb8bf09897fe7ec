package serversession

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/spf13/cobra"

	"github.com/serversession/caddy-server-session/internal/session"
)

func copyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "copy --to <store> [--once] [--existing replace|keep]",
		Short: "Copies sessions to another store, while the server works",
		Long: `
Copies all sessions to another store and follows what changes, until a
configuration that uses the new store has been loaded. Nobody is logged out, and
nobody who logged out is logged in again. In one terminal:

  caddy server-session copy --to "badger /var/lib/sessions"

When it says that it follows, change the store in the configuration to exactly
what --to says, and 'caddy reload' in another one. The copy then ends by itself,
ten seconds later. Ended before that, it has changed nothing for the running
server.

--to is what stands after 'store' in the Caddyfile, or the JSON of a store.
Paths are those of the server, and are best absolute. A key_file stays in the
configuration; keys in the store are copied.

With --once, the copy ends when everything was copied. It is out of date as soon
as somebody logs in or out.

If the target has sessions already, --existing replace makes it what the source
is, as after an earlier copy, and --existing keep leaves them.`,
		Args: cobra.NoArgs,
		RunE: run((*cliCall).copy),
	}
	flags := cmd.Flags()
	flags.String("to", "", "The store to copy to")
	flags.Bool("once", false, "End when everything was copied")
	flags.String("existing", "", "What becomes of sessions that the target has: replace or keep")
	return cmd
}

func (c *cliCall) copy() error {
	to, err := parseStore(c.flags.String("to"))
	if err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	body, err := json.Marshal(adminCopy{
		To: to, Once: c.flags.Bool("once"), Existing: session.Existing(c.flags.String("existing")),
	})
	if err != nil {
		return err
	}
	response, err := c.request(http.MethodPost, "copy", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	stage := ""
	for d := json.NewDecoder(response.Body); ; {
		var line adminCopied
		if err := d.Decode(&line); err != nil {
			return errNoOutcome
		}
		switch {
		case line.Error != "":
			c.progressDone()
			return errors.New(line.Error)
		case line.Progress != nil:
			c.progress("%s", copyLine(line.Progress))
			if s := line.Progress.Stage; s != stage {
				c.explain(s)
				stage = s
			}
		case line.Outcome != nil:
			c.progressDone()
			return c.copied(line.Outcome)
		}
	}
}

// explain says what a stage is for, to those who read along.
func (c *cliCall) explain(stage string) {
	text := map[string]string{
		"following": "everything was copied; following what changes until a configuration with the new store is loaded",
		"finishing": "the store was left; copying what requests change that are under way",
	}[stage]
	if text != "" && !c.flags.Bool("once") {
		c.progressDone()
		fmt.Fprintln(c.err, text)
	}
}

func copyLine(p *session.CopyProgress) string {
	line := fmt.Sprintf("%s: %d records written, %s; %d extended, %d deleted",
		p.Stage, p.Records, sizeOf(p.Bytes), p.Touched, p.Deleted)
	if p.Trouble != "" {
		line += "; trying again: " + p.Trouble
	}
	return line
}

func (c *cliCall) copied(o *adminCopyOutcome) error {
	if done, err := c.json(o); done {
		return err
	}
	c.say("copied: %d records written, %s; %d extended, %d deleted; %d are the target's own",
		o.Records, sizeOf(o.Bytes), o.Touched, o.Deleted, o.Kept)
	if o.Refused > 0 {
		c.say("%d records were too large for the target", o.Refused)
	}
	if !o.TargetInUse && !c.flags.Bool("once") {
		c.say("no configuration uses the target as --to describes it; the running one has another store")
	}
	return nil
}

// parseStore returns the JSON of a store, which is given like that or as it
// stands in a Caddyfile.
func parseStore(text string) (json.RawMessage, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return nil, errors.New("want a store, such as \"badger /var/lib/sessions\"")
	case strings.HasPrefix(text, "{"):
		if !json.Valid([]byte(text)) {
			return nil, errors.New("malformed JSON")
		}
		return json.RawMessage(text), nil
	}
	tokens, err := caddyfile.Tokenize([]byte("server_session {\nstore "+text+"\n}"), "--to")
	if err != nil {
		return nil, err
	}
	var app App
	d := caddyfile.NewDispenser(tokens)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	if d.Next() || tokens[len(tokens)-1].Text != "}" || app.KeyFile != "" || app.AllowCredentialLogging {
		return nil, errors.New("want nothing but a store")
	}
	return app.StoreRaw, nil
}
