package sessionstoretest

import (
	"testing"

	"github.com/serversession/caddy-server-session/sessionstore"
)

func TestMemory(t *testing.T) {
	Run(t, func(*testing.T) sessionstore.Store { return NewMemory() })
}
