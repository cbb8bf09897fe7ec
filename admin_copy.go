package serversession

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/internal/session"
)

// adminCopy is the body of POST /server_session/copy.
type adminCopy struct {
	// To is the store to copy to, as in the configuration of the app.
	To json.RawMessage `json:"to"`

	// Once ends the copy when everything was copied. Otherwise it goes on until
	// a configuration without this store has taken the place of the running one.
	Once bool `json:"once,omitempty"`

	// Existing says what becomes of sessions that are in the target already:
	// `replace` makes the target what the source is, `keep` leaves them. Default:
	// nothing is copied then.
	Existing session.Existing `json:"existing,omitempty"`
}

// adminCopied is a line in the answer. The last one has an outcome or an error.
type adminCopied struct {
	Progress *session.CopyProgress `json:"progress,omitempty"`
	Outcome  *adminCopyOutcome     `json:"outcome,omitempty"`
	Error    string                `json:"error,omitempty"`
}

// adminCopyOutcome is how a copy ended.
type adminCopyOutcome struct {
	session.CopyProgress

	// TargetInUse says that a configuration uses the target now, opened with
	// the same options.
	TargetInUse bool `json:"target_in_use"`
}

func (c *adminCall) copy() error {
	var q adminCopy
	if err := c.decode(&q); err != nil {
		return err
	}
	switch {
	case len(q.To) == 0:
		return apiError(http.StatusBadRequest, errors.New("to: want a store"))
	case q.Existing != session.ExistingRefuse && q.Existing != session.ExistingReplace && q.Existing != session.ExistingKeep:
		return apiError(http.StatusBadRequest, fmt.Errorf("existing: want replace or keep, not %.64q", q.Existing))
	}
	c.takesLong()
	job, err := c.app.newCopyJob(c.r.Context(), q.To)
	if err != nil {
		return err
	}
	c.log.Info("copying sessions to another store", zap.Bool("once", q.Once), zap.String("existing", string(q.Existing)))
	ctx, lines := c.stream()
	defer lines.close()
	stage := ""
	p, inUse, err := job.run(ctx, session.CopyOptions{
		Once: q.Once, Existing: q.Existing,
		Progress: func(p session.CopyProgress) {
			if p.Stage != stage {
				stage = p.Stage
				lines.send(adminCopied{Progress: &p})
				return
			}
			lines.nowAndThen(adminCopied{Progress: &p})
		},
	})
	if err != nil {
		c.log.Error("copying sessions to another store", zap.Error(err), zap.Any("progress", p))
		lines.send(adminCopied{Error: err.Error()})
		return nil
	}
	c.log.Info("copied sessions to another store", zap.Any("outcome", p), zap.Bool("target_in_use", inUse))
	lines.send(adminCopied{Outcome: &adminCopyOutcome{p, inUse}})
	return nil
}
