package badger

import (
	"fmt"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logger passes Badger's messages on to zap. Badger's Info is about its own
// housekeeping and becomes Debug.
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

func (l *logger) Errorf(format string, v ...any)   { l.log(zapcore.ErrorLevel, format, v) }
func (l *logger) Warningf(format string, v ...any) { l.log(zapcore.WarnLevel, format, v) }
func (l *logger) Infof(format string, v ...any)    { l.log(zapcore.DebugLevel, format, v) }
func (l *logger) Debugf(format string, v ...any)   { l.log(zapcore.DebugLevel, format, v) }

func (l *logger) log(level zapcore.Level, format string, v []any) {
	z := l.get()
	if !z.Core().Enabled(level) {
		return
	}
	z.Log(level, strings.TrimSpace(fmt.Sprintf(format, v...)))
}
