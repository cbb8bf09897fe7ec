// Command caddy is Caddy with the server_session module compiled in, for
// development, tests and the demonstration in Caddyfile.example.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/serversession/caddy-server-session"
)

func main() {
	caddycmd.Main()
}
