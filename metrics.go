package serversession

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are made once per process and registered with the registry of every
// configuration, so that counts outlive reloads. Labels are bounded: no name,
// host or session is ever one.
var metrics = newMetrics()

type metricSet struct {
	created  prometheus.Counter
	refused  prometheus.Counter
	rotated  prometheus.Counter
	renewed  prometheus.Counter
	ended    *prometheus.CounterVec
	closed   prometheus.Counter
	cookies  *prometheus.CounterVec
	rejected *prometheus.CounterVec
	failures *prometheus.CounterVec
}

func newMetrics() *metricSet {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "caddy", Subsystem: "server_session", Name: name, Help: help}
	}
	return &metricSet{
		created: prometheus.NewCounter(opts("sessions_created_total", "Sessions created.")),
		refused: prometheus.NewCounter(opts("sessions_refused_total", "Sessions that were not created because of max_sessions.")),
		rotated: prometheus.NewCounter(opts("sessions_rotated_total", "Sessions that got a new token at a change of privilege.")),
		renewed: prometheus.NewCounter(opts("sessions_renewed_total", "Sessions that got a new token because of its age, or that of its key.")),
		ended: prometheus.NewCounterVec(opts("sessions_ended_total", "Sessions ended before their time, by reason."),
			[]string{"reason"}),
		closed: prometheus.NewCounter(opts("connections_closed_total", "Long-lived connections closed because their session had ended.")),
		cookies: prometheus.NewCounterVec(opts("cookies_total", "Set-Cookie lines of backends, by what became of them."),
			[]string{"action"}),
		rejected: prometheus.NewCounterVec(opts("tokens_rejected_total", "Session cookies that opened nothing, by reason."),
			[]string{"reason"}),
		failures: prometheus.NewCounterVec(opts("store_failures_total", "Operations of the store that failed, by operation."),
			[]string{"operation"}),
	}
}

func (m *metricSet) register(r *prometheus.Registry) error {
	if r == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{
		m.created, m.refused, m.rotated, m.renewed, m.ended, m.closed, m.cookies, m.rejected, m.failures,
	} {
		var already prometheus.AlreadyRegisteredError
		if err := r.Register(c); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}
