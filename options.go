package serversession

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/serversession/caddy-server-session/internal/cookie"
	"github.com/serversession/caddy-server-session/internal/policy"
)

// Defaults, see the fields of Handler.
const (
	defaultName               = "session"
	defaultStoreLargerThan    = 4096
	defaultIdleTimeout        = 7 * 24 * time.Hour
	defaultAbsoluteTimeout    = 400 * 24 * time.Hour
	defaultProvisionalTimeout = time.Hour
	defaultMaxCookies         = 180
	defaultMaxCookieSize      = 64 << 10
	defaultMaxSessionSize     = 256 << 10
	defaultMaxReplaySize      = 16 << 10
)

// Values of options.
const (
	optionPass      = "pass"
	optionDrop      = "drop"
	optionFail      = "fail"
	optionAnonymous = "anonymous"
	optionAuto      = "auto"
	optionOff       = "off"
)

var sameSites = map[string]cookie.SameSite{
	"lax":    cookie.SameSiteLax,
	"strict": cookie.SameSiteStrict,
	"none":   cookie.SameSiteNone,
}

// compile fills in defaults and makes of options what they mean.
func (h *Handler) compile() (err error) {
	h.setDefaults()
	h.SubjectHeader = http.CanonicalHeaderKey(h.SubjectHeader)
	if err := h.Cookie.canonicalize(); err != nil {
		return fmt.Errorf("cookie: %w", err)
	}
	h.policy, err = policy.New(policy.Config{
		Store:           h.Store,
		Pass:            h.Pass,
		Drop:            h.Drop,
		StoreHTTPOnly:   *h.StoreHTTPOnly,
		StoreLargerThan: max(h.StoreLargerThan, 0),
		StoreJWT:        h.StoreJWT,
		DropUnmatched:   h.Unmatched == optionDrop,

		SessionDomain:    h.Cookie.Domain,
		SessionCrossSite: h.Cookie.SameSite == "none",
	})
	return err
}

// rotation returns what tells a change of privilege: names of cookies, and
// whether every change of their value is one.
func rotation(names []string) (match func(string) bool, anyChange bool, err error) {
	switch {
	case len(names) == 0, slices.Equal(names, []string{optionAuto}):
		return policy.SessionLike, false, nil
	case slices.Equal(names, []string{optionOff}):
		return nil, false, nil
	case slices.Contains(names, optionAuto), slices.Contains(names, optionOff):
		return nil, false, errors.New("rotate_on: auto and off stand alone")
	}
	if match, err = policy.Names(names); err != nil {
		return nil, false, fmt.Errorf("rotate_on: %w", err)
	}
	return match, true, nil
}

func (h *Handler) setDefaults() {
	setDefault(&h.Name, defaultName)
	setDefault(&h.StoreLargerThan, defaultStoreLargerThan)
	setDefault(&h.Unmatched, optionPass)
	setDefault(&h.OnStoreError, optionFail)
	setDefault(&h.Cookie.SameSite, optionAuto)
	setDefault(&h.IdleTimeout, caddy.Duration(defaultIdleTimeout))
	setDefault(&h.AbsoluteTimeout, caddy.Duration(defaultAbsoluteTimeout))
	setDefault(&h.ProvisionalTimeout, caddy.Duration(defaultProvisionalTimeout))
	setDefault(&h.MaxCookies, defaultMaxCookies)
	setDefault(&h.MaxSessionSize, defaultMaxSessionSize)
	setDefault(&h.MaxCookieSize, min(defaultMaxCookieSize, h.MaxSessionSize))
	setDefault(&h.MaxReplaySize, defaultMaxReplaySize)
	if h.StoreHTTPOnly == nil {
		yes := true
		h.StoreHTTPOnly = &yes
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate checks the options.
func (h *Handler) Validate() error {
	if err := checkName(h.Name); err != nil {
		return err
	}
	if h.Unmatched != optionPass && h.Unmatched != optionDrop {
		return fmt.Errorf("unmatched: %q is neither pass nor drop", h.Unmatched)
	}
	if h.OnStoreError != optionFail && h.OnStoreError != optionAnonymous {
		return fmt.Errorf("on_store_error: %q is neither fail nor anonymous", h.OnStoreError)
	}
	if _, ok := sameSites[h.Cookie.SameSite]; !ok && h.Cookie.SameSite != optionAuto {
		return fmt.Errorf("cookie: same_site: %q is none of auto, lax, strict and none", h.Cookie.SameSite)
	}
	for _, p := range h.Cookie.Previous {
		if err := checkName(p.Name); err != nil {
			return fmt.Errorf("cookie: previous: %w", err)
		}
		if p.Name == h.Name && p.Domain == h.Cookie.Domain {
			return fmt.Errorf("cookie: previous: %s is the present one", p.Name)
		}
	}
	if _, _, err := rotation(h.RotateOn); err != nil {
		return err
	}
	if err := checkSubjectHeader(h.SubjectHeader); err != nil {
		return err
	}
	if h.RenewAfter != 0 && h.RenewAfter < caddy.Duration(time.Minute) {
		return fmt.Errorf("renew_after: %v is less than a minute", time.Duration(h.RenewAfter))
	}
	if err := checkContradictions(h.Store, h.Pass, h.Drop); err != nil {
		return err
	}
	for _, o := range []struct {
		name string
		caddy.Duration
	}{
		{"idle_timeout", h.IdleTimeout},
		{"absolute_timeout", h.AbsoluteTimeout},
		{"provisional_timeout", h.ProvisionalTimeout},
	} {
		if o.Duration < caddy.Duration(time.Second) {
			return fmt.Errorf("%s: %v is less than a second", o.name, time.Duration(o.Duration))
		}
	}
	for _, o := range []struct {
		name string
		n    int64
	}{
		{"max_cookies", int64(h.MaxCookies)},
		{"max_session_size", h.MaxSessionSize},
		{"max_cookie_size", h.MaxCookieSize},
		{"max_replay_size", h.MaxReplaySize},
	} {
		if o.n <= 0 {
			return fmt.Errorf("%s: %d is not positive", o.name, o.n)
		}
	}
	if h.MaxCookieSize > h.MaxSessionSize {
		return fmt.Errorf("max_cookie_size %d exceeds max_session_size %d", h.MaxCookieSize, h.MaxSessionSize)
	}
	// Badger keeps a record in one transaction; 512 KiB is well below what
	// that can hold.
	if h.MaxSessionSize > maxSessionSizeLimit {
		return fmt.Errorf("max_session_size: %d exceeds %d", h.MaxSessionSize, maxSessionSizeLimit)
	}
	return nil
}

const maxSessionSizeLimit = 512 << 10

// checkSubjectHeader refuses headers that have a meaning of their own.
func checkSubjectHeader(name string) error {
	switch {
	case name == "":
	case !httpguts.ValidHeaderFieldName(name):
		return fmt.Errorf("subject_header: %q is not the name of a header", name)
	case isSetCookie(name), strings.EqualFold(name, "Clear-Site-Data"), strings.EqualFold(name, "Trailer"):
		return fmt.Errorf("subject_header: %s has another meaning", name)
	}
	return nil
}

// checkContradictions refuses a name that stands in two lists: the order in
// which they apply is for patterns that overlap.
func checkContradictions(lists ...[]string) error {
	seen := make(map[string]int)
	for i, list := range lists {
		for _, name := range list {
			if j, ok := seen[name]; ok && j != i {
				return fmt.Errorf("%s can be in one of store, pass and drop only", name)
			}
			seen[name] = i
		}
	}
	return nil
}

// canonicalize brings domains into the form in which hosts are compared.
func (c *CookieConfig) canonicalize() (err error) {
	if c.Domain, err = canonicalDomain(c.Domain); err != nil {
		return err
	}
	previous := slices.Clone(c.Previous)
	for i := range previous {
		if previous[i].Domain, err = canonicalDomain(previous[i].Domain); err != nil {
			return err
		}
	}
	c.Previous = previous
	return nil
}

func canonicalDomain(domain string) (string, error) {
	if domain == "" {
		return "", nil
	}
	canonical, err := cookie.CanonicalHost(strings.TrimPrefix(domain, "."))
	if err != nil || !cookie.ShareableDomain(canonical) {
		return "", fmt.Errorf("domain: browsers do not accept %q as the domain of a cookie", domain)
	}
	return canonical, nil
}

// checkName accepts what can be part of a cookie's name (RFC 9110 section
// 5.6.2) and keeps to characters that no server folds.
func checkName(name string) error {
	if len(name) > 64 {
		return errors.New("name is longer than 64 characters")
	}
	if strings.HasSuffix(name, markerSuffix) {
		return fmt.Errorf("name ends with %s, as does that of the cookie beside another session's", markerSuffix)
	}
	for _, c := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", c) {
			return fmt.Errorf("name: %q can not be part of a cookie's name; use letters, digits, _ and -", c)
		}
	}
	return nil
}
