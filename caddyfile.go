package serversession

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("server_session", parseGlobalOption)
	httpcaddyfile.RegisterHandlerDirective("server_session", parseDirective)
	// After templates, so that it wraps handle, route and every reverse_proxy
	// of a site, and stands behind what authenticates.
	httpcaddyfile.RegisterDirectiveOrder("server_session", httpcaddyfile.After, "templates")
}

func parseDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	err := handler.UnmarshalCaddyfile(h.Dispenser)
	return handler, err
}

func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // consume option name, so that the error has its line
		return nil, d.Err("server_session is already configured")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "server_session", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	server_session [<matcher>] [<name>] {
//		store             <names...>
//		store_http_only   on|off
//		store_larger_than <size>|off
//		store_jwt
//		pass              <names...>
//		drop              <names...>
//		unmatched         pass|drop
//
//		cookie {
//			domain    <domain>
//			same_site auto|lax|strict|none
//			previous  <name> [<domain>]
//			insecure_http
//		}
//
//		idle_timeout        <duration>
//		absolute_timeout    <duration>
//		provisional_timeout <duration>
//
//		rotate_on   auto|off|<names...>
//		renew_after <duration>|off
//		background  <paths...>
//
//		subject        <placeholder>
//		subject_header <name>
//
//		max_cookies      <number>
//		max_cookie_size  <size>
//		max_session_size <size>
//		max_replay_size  <size>
//
//		on_store_error fail|anonymous
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		h.Name = d.Val()
		if err := checkName(h.Name); err != nil {
			return d.WrapErr(err)
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(once)
	for d.NextBlock(0) {
		option := d.Val()
		switch option {
		case "store", "pass", "drop": // these add up
		default:
			if err := seen.check(d, option); err != nil {
				return err
			}
		}
		if err := h.unmarshalOption(d, option); err != nil {
			return err
		}
	}
	// What the options mean together is checked when they are provisioned, but
	// only here is it known where they stand.
	whole := *h
	err := whole.compile()
	if err == nil {
		err = whole.Validate()
	}
	if err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (h *Handler) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "store":
		return parseNames(d, &h.Store)
	case "pass":
		return parseNames(d, &h.Pass)
	case "drop":
		return parseNames(d, &h.Drop)
	case "store_http_only":
		var on bool
		if err := parseSwitch(d, &on); err != nil {
			return err
		}
		h.StoreHTTPOnly = &on
		return nil
	case "store_larger_than":
		return parseSize(d, &h.StoreLargerThan, true)
	case "store_jwt":
		return parseFlag(d, &h.StoreJWT)
	case "unmatched":
		return parseWord(d, &h.Unmatched, optionPass, optionDrop)
	case "cookie":
		return h.Cookie.unmarshal(d)
	case "idle_timeout":
		return parseDuration(d, &h.IdleTimeout)
	case "absolute_timeout":
		return parseDuration(d, &h.AbsoluteTimeout)
	case "provisional_timeout":
		return parseDuration(d, &h.ProvisionalTimeout)
	case "rotate_on":
		return parseNames(d, &h.RotateOn)
	case "renew_after":
		return parseDurationOrOff(d, &h.RenewAfter)
	case "background":
		h.Background = d.RemainingArgs()
		if len(h.Background) == 0 {
			return d.ArgErr()
		}
		return nil
	case "subject":
		return parseString(d, &h.Subject)
	case "subject_header":
		return parseString(d, &h.SubjectHeader)
	case "max_cookies":
		return parseNumber(d, &h.MaxCookies, false)
	case "max_cookie_size":
		return parseSize(d, &h.MaxCookieSize, false)
	case "max_session_size":
		return parseSize(d, &h.MaxSessionSize, false)
	case "max_replay_size":
		return parseSize(d, &h.MaxReplaySize, false)
	case "on_store_error":
		return parseWord(d, &h.OnStoreError, optionFail, optionAnonymous)
	}
	return d.Errf("unrecognized subdirective '%s'", option)
}

func (c *CookieConfig) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if option != "previous" { // these add up
			if err := seen.check(d, option); err != nil {
				return err
			}
		}
		if err := c.unmarshalOption(d, option); err != nil {
			return err
		}
	}
	return nil
}

func (c *CookieConfig) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "domain":
		return parseString(d, &c.Domain)
	case "same_site":
		return parseWord(d, &c.SameSite, optionAuto, "lax", "strict", "none")
	case "previous":
		args := d.RemainingArgs()
		if len(args) < 1 || len(args) > 2 {
			return d.ArgErr()
		}
		p := PreviousCookie{Name: args[0]}
		if len(args) == 2 {
			p.Domain = args[1]
		}
		c.Previous = append(c.Previous, p)
		return nil
	case "insecure_http":
		return parseFlag(d, &c.InsecureHTTP)
	}
	return d.Errf("unrecognized subdirective of cookie '%s'", option)
}

// UnmarshalCaddyfile sets up the app from the global option. Syntax:
//
//	server_session {
//		store    <module> ...
//		key_file <path>
//		max_sessions               <number>|off
//		max_provisional            <number>|off
//		max_provisional_per_client <number>|off
//		allow_credential_logging
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume option name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(once)
	for d.NextBlock(0) {
		option := d.Val()
		if err := seen.check(d, option); err != nil {
			return err
		}
		switch option {
		case "store":
			if !d.NextArg() {
				return d.ArgErr()
			}
			store := d.Val()
			unm, err := caddyfile.UnmarshalModule(d, "server_session.stores."+store)
			if err != nil {
				return err
			}
			if _, ok := unm.(StoreProvider); !ok {
				return d.Errf("module server_session.stores.%s is not a store but a %T", store, unm)
			}
			a.StoreRaw = caddyconfig.JSONModuleObject(unm, "module", store, nil)
		case "key_file":
			if !d.AllArgs(&a.KeyFile) {
				return d.ArgErr()
			}
		case "max_sessions":
			if err := parseNumber(d, &a.MaxSessions, true); err != nil {
				return err
			}
		case "max_provisional":
			if err := parseNumber(d, &a.MaxProvisional, true); err != nil {
				return err
			}
		case "max_provisional_per_client":
			if err := parseNumber(d, &a.MaxProvisionalPerClient, true); err != nil {
				return err
			}
		case "allow_credential_logging":
			if err := parseFlag(d, &a.AllowCredentialLogging); err != nil {
				return err
			}
		default:
			return d.Errf("unrecognized option of server_session '%s'", option)
		}
	}
	return nil
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	badger [<dir>] {
//		sync_writes
//		cache_size     <size>|off
//		min_free_space <size>
//	}
func (s *BadgerStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume module name
	if d.NextArg() {
		s.Dir = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if err := seen.check(d, option); err != nil {
			return err
		}
		var err error
		switch option {
		case "sync_writes":
			err = parseFlag(d, &s.SyncWrites)
		case "cache_size":
			err = parseSize(d, &s.CacheBytes, true)
		case "min_free_space":
			err = parseSize(d, &s.MinFreeSpace, false)
		default:
			err = d.Errf("unrecognized option of badger '%s'", option)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*BadgerStore)(nil)
)
