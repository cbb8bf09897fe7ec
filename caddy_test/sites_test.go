package caddy_test

import (
	"fmt"
	"strings"
	"testing"
)

// site is an address that a server answers on. Names need no resolver: every
// client connects to the loopback and only says the name.
type site struct {
	scheme, host string
	port         int
}

func newSite(t *testing.T, scheme string) site {
	t.Helper()
	return site{scheme, "app.test", freePort(t)}
}

// String is the address as it stands in a Caddyfile.
func (x site) String() string { return fmt.Sprintf("%s://%s:%d", x.scheme, x.host, x.port) }

func (x site) authority() string { return fmt.Sprintf("%s:%d", x.host, x.port) }

func (x site) dial() string { return fmt.Sprintf("127.0.0.1:%d", x.port) }

// siteWith is a site that proxies to addr, with directives in front of that.
func siteWith(x site, directives, addr string) config {
	var b strings.Builder
	b.WriteString(x.String() + " {\n\tlog\n")
	if x.scheme == "https" {
		b.WriteString("\ttls internal\n")
	}
	b.WriteString("\t" + directives + "\n\treverse_proxy " + addr + "\n}\n")
	return config{sites: b.String()}
}

// behind runs a test behind plain reverse_proxy, where directive is empty, and
// behind the module with its defaults. What the first shows is what the second
// is measured by.
func behind(t *testing.T, test func(t *testing.T, directive string)) {
	t.Run("reverse_proxy", func(t *testing.T) {
		t.Parallel()
		test(t, "")
	})
	t.Run("server_session", func(t *testing.T) {
		t.Parallel()
		need(t, "server_session")
		test(t, "server_session")
	})
}
