package serversession

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/internal/session"
)

// adminRevoke is the body of POST /server_session/revoke. It names one of a
// session, everything, or a host.
type adminRevoke struct {
	// Session is a handle.
	Session string `json:"session,omitempty"`

	Everything bool `json:"everything,omitempty"`

	// Host ends the sessions of a host, under the name that the directive has.
	// Default of the name: `session`.
	Host string `json:"host,omitempty"`
	Name string `json:"name,omitempty"`

	// Domain ends those that are shared below the host, too, which is the
	// domain of their cookie.
	Domain bool `json:"domain,omitempty"`

	// Subject ends only those of this user. An empty one is refused: a variable
	// that was not set must not end everybody's.
	Subject *string `json:"subject,omitempty"`
}

// adminRevoked is the answer.
type adminRevoked struct {
	// Records says how many records of a session there were.
	Records int `json:"records,omitempty"`

	Everything bool `json:"everything,omitempty"`

	Scopes  []adminScope `json:"scopes,omitempty"`
	Subject string       `json:"subject,omitempty"`
}

// adminScope is a scope whose sessions were revoked.
type adminScope struct {
	Scope string `json:"scope"`

	// Known says that a session in it was used since the store was opened. If
	// none of the scopes is, the host may be misspelt.
	Known bool `json:"known"`
}

// check accepts a request that can mean one thing only.
func (q *adminRevoke) check() error {
	targets := 0
	for _, there := range []bool{q.Session != "", q.Everything, q.Host != ""} {
		if there {
			targets++
		}
	}
	switch {
	case targets != 1:
		return errors.New("want exactly one of session, everything and host")
	case q.Host == "" && (q.Name != "" || q.Domain || q.Subject != nil):
		return errors.New("name, domain and subject need a host")
	case q.Subject != nil && *q.Subject == "":
		return errors.New("subject is empty")
	}
	return nil
}

// scopes returns those of all forms that the session cookie can have there.
func (q *adminRevoke) scopes() ([]session.Scope, error) {
	name := q.Name
	if name == "" {
		name = defaultName
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	host, err := cookie.CanonicalHost(strings.TrimPrefix(q.Host, "."))
	if err != nil || host == "" {
		return nil, fmt.Errorf("host: %.256q is none", q.Host)
	}
	domains := []string{""}
	if q.Domain {
		domains = append(domains, host)
	}
	var scopes []session.Scope
	for _, domain := range domains {
		for _, secure := range []bool{true, false} {
			n := newNaming(name, domain, secure)
			scopes = append(scopes, n.scope(host))
		}
	}
	return scopes, nil
}

func (c *adminCall) revoke() error {
	var q adminRevoke
	if err := c.decode(&q); err != nil {
		return err
	}
	if err := q.check(); err != nil {
		return apiError(http.StatusBadRequest, err)
	}
	switch {
	case q.Everything:
		return c.revokeEverything()
	case q.Session != "":
		return c.revokeSession(q.Session)
	}
	return c.revokeScopes(&q)
}

func (c *adminCall) revokeEverything() error {
	if err := c.open.manager.RevokeAll(c.r.Context()); err != nil {
		return err
	}
	c.log.Warn("revoked all sessions")
	return c.answer(adminRevoked{Everything: true})
}

func (c *adminCall) revokeSession(handle string) error {
	c.takesLong() // it has to be found
	n, err := c.open.manager.EndFamily(c.r.Context(), handle)
	if err != nil {
		return err
	}
	if n == 0 {
		return apiError(http.StatusNotFound, errors.New("no such session"))
	}
	c.log.Info("ended a session", zap.String("session", handle), zap.Int("records", n))
	return c.answer(adminRevoked{Records: n})
}

func (c *adminCall) revokeScopes(q *adminRevoke) error {
	scopes, err := q.scopes()
	if err != nil {
		return apiError(http.StatusBadRequest, err)
	}
	m := c.open.manager
	var answer adminRevoked
	for _, s := range scopes {
		log := c.log.With(zap.String("scope", s.String()))
		if q.Subject == nil {
			err = m.RevokeScope(c.r.Context(), s)
		} else {
			answer.Subject = *q.Subject
			log = log.With(zap.String("subject", answer.Subject))
			err = m.RevokeSubject(c.r.Context(), s, answer.Subject)
		}
		if err != nil {
			return err
		}
		log.Info("revoked sessions")
		answer.Scopes = append(answer.Scopes, adminScope{s.String(), m.KnownScope(s)})
	}
	return c.answer(answer)
}
