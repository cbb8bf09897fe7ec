package serversession

import (
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/serversession/caddy-server-session/internal/session"
)

// quotas are the app's bounds on what clients without cookies can do.
func (a *App) quotas() session.Quotas {
	return session.Quotas{
		Sessions:    a.MaxSessions,
		Provisional: a.MaxProvisional,
		PerClient:   a.MaxProvisionalPerClient,
		Evicted: func() {
			metrics.ended.WithLabelValues("evicted").Inc()
			if n := evictions.due(time.Now()); n > 0 {
				a.logger.Warn("sessions whose cookies did not come back were evicted: a quota is reached",
					zap.Int64("evicted", n))
			}
		},
	}
}

// refusedByQuota takes note of a response whose cookies could not be stored.
func (x *exchange) refusedByQuota() {
	metrics.refused.Inc()
	if n := refusals.due(time.Now()); n > 0 {
		x.h.logger.Error("no session is created: there are max_sessions; the cookies of responses are lost",
			zap.Int64("responses", n))
	}
}

// A flood is said once a minute, not once a request.
var evictions, refusals paced

// paced counts what happens too often to be said each time.
type paced struct {
	said  atomic.Int64 // when it was said last, in nanoseconds since 1970
	count atomic.Int64 // since then
}

// due counts once more. It returns how often it happened if that is to be said
// now, else zero.
func (p *paced) due(now time.Time) int64 {
	p.count.Add(1)
	said := p.said.Load()
	if now.Sub(time.Unix(0, said)) < time.Minute || !p.said.CompareAndSwap(said, now.UnixNano()) {
		return 0
	}
	return p.count.Swap(0)
}

// clientOf returns the address of the client: Caddy's client_ip, which is what
// a proxy says only if that is trusted. It is not valid where there is none, as
// on unix sockets.
func clientOf(r *http.Request) netip.Addr {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.Addr{}
	}
	return addr
}
