package redis

import (
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
)

// logger is the logger of the configuration that counts.
type logger struct{ zap atomic.Pointer[zap.Logger] }

func newLogger(z *zap.Logger) *logger {
	l := new(logger)
	l.set(z)
	return l
}

func (l *logger) set(z *zap.Logger) {
	if z == nil {
		z = zap.NewNop()
	}
	l.zap.Store(z)
}

func (l *logger) get() *zap.Logger { return l.zap.Load() }

// maxMessage is how much of a server's error is passed on.
const maxMessage = 200

// clean returns what may be said of a message of the server: not what it quotes
// of a command, and no password.
func clean(message string, secrets []string) string {
	if at := strings.Index(message, ", with args"); at >= 0 {
		message = message[:at]
	}
	for _, secret := range secrets {
		message = strings.ReplaceAll(message, secret, "[redacted]")
	}
	return message[:min(len(message), maxMessage)]
}
