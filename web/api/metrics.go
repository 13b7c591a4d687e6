package api

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics serves the state of the instance in the text format of Prometheus.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) error {
	registry := prometheus.NewRegistry()
	if err := registry.Register(&collector{s: s, ctx: r.Context()}); err != nil {
		return err
	}
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(w, r)
	return nil
}

// collector reads the state once, for one scrape.
type collector struct {
	s   *Server
	ctx context.Context //nolint:containedctx // of the one request that it is made for
}

// Describe sends nothing: what there is depends on the configuration.
func (*collector) Describe(chan<- *prometheus.Desc) {}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	st, err := c.s.state(c.ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		return
	}
	send := func(name, help string, kind prometheus.ValueType, value float64, labels ...string) {
		var names, values []string
		for i := 0; i+1 < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		m, err := prometheus.NewConstMetric(prometheus.NewDesc("postkeep_"+name, help, names, nil), kind, value, values...)
		if err != nil {
			m = prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		}
		out <- m
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	send("info", "Version of the program.", gauge, 1, "version", st.Version)
	send("archive_messages", "Messages in the archive.", gauge, float64(st.Archive.Messages))
	send("archive_bytes", "Octets of the messages, each counted once.", gauge, float64(st.Archive.Bytes))
	send("archive_deposits", "Deposits in the archive.", gauge, float64(st.Archive.Deposits))
	send("archive_volume_bytes", "Size of all volumes on disk.", gauge, float64(volumeBytes(&st)))
	send("archive_writable", "1 while the archive takes mail.", gauge, truth(st.Archive.ReadOnly == ""))
	send("ledger_events_total", "Events in the ledger.", counter, float64(st.Archive.Events))
	send("index_documents", "Messages in the search index.", gauge, float64(st.Index.Documents))
	send("index_complete", "1 while the index has everything that the archive has.", gauge, truth(!st.Index.Behind && st.Index.Partial == ""))
	send("problems", "What needs an operator.", gauge, float64(len(st.Problem)))
	if v := st.Archive.Verified; v != nil {
		send("verification_finished_seconds", "When the last verification ended, in Unix time.", gauge, unixTime(v.Finished))
		send("verification_damages", "Damages that the last verification found.", gauge, float64(v.Damages))
	}
	for _, stream := range st.Streams.Streams {
		send("stream_messages", "Messages in a stream.", gauge, float64(stream.Messages), "stream", stream.Name)
		send("stream_bytes", "Octets in a stream.", gauge, float64(stream.Bytes), "stream", stream.Name)
	}
	c.mailboxes(send)
}

func (c *collector) mailboxes(send func(string, string, prometheus.ValueType, float64, ...string)) {
	boxes, err := c.s.boxes(c.ctx)
	if err != nil {
		return // the state above says what is wrong
	}
	for _, m := range boxes {
		send("mailbox_deposits", "Deposits from a mailbox.", prometheus.GaugeValue, float64(m.Deposits), "mailbox", m.Name)
		send("mailbox_failures", "Polls in a row that failed.", prometheus.GaugeValue, float64(m.Failures), "mailbox", m.Name)
		if m.LastPoll != nil {
			send("mailbox_last_poll_seconds", "When the last poll began, in Unix time.", prometheus.GaugeValue, unixTime(m.LastPoll.Started), "mailbox", m.Name)
			send("mailbox_left", "Messages that the last poll left on the server.", prometheus.GaugeValue, float64(m.LastPoll.Left), "mailbox", m.Name)
			send("mailbox_unconfirmed", "Messages on the server whose archived copy is not confirmed to be whole.", prometheus.GaugeValue, float64(m.LastPoll.Unconfirmed), "mailbox", m.Name)
		}
	}
}

func volumeBytes(st *Status) (n int64) {
	for _, v := range st.Archive.Volumes {
		n += v.Bytes
	}
	return n
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func unixTime(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1e3
}
