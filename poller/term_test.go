package poller

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// TestNothingIsDeletedOnceAnotherCopyHasTakenOver lets a clone of the archive take over after all receipts have come, while DELE is
// sent: it may lack the messages.
func TestNothingIsDeletedOnceAnotherCopyHasTakenOver(t *testing.T) {
	holder := func(name string) pipeline.Holder {
		return pipeline.Holder{Epoch: 1, Name: name, Where: name, Boot: "boot", Events: func() int64 { return 100 }}
	}
	clone := holder("clone")
	clone.TakeOver = func(_ context.Context, above int64, _ string) (int64, error) { return above + 1, nil }
	r := newRig(t, rigOptions{messages: mails(3), holder: holder("original"), hook: func(r *rig) pop3test.Hook {
		takeOver := sync.OnceFunc(func() {
			tenure, err := r.bus.Serve(t.Context(), clone)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { r.check(tenure.Release(context.Background())) })
		})
		return pop3test.On("DELE", "", func(_ *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
			takeOver()
			return normal
		})
	}})
	report := r.poll()
	if report.Archived != 3 || report.Deleted != 0 || report.KeptWhy[whyTerm] != 3 || !strings.Contains(report.Error, "clone") {
		t.Errorf("report %+v", report)
	}
	same(t, "on the server", r.onServer(), mails(3))
}
