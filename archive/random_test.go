package archive

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postkeep/postkeep/archive/disk/disktest"
	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/archive/retention"
)

// TestNothingHeldOrTooYoungGoesAndWhatWasAppliedIsGone does at random what people do. A model of its own, which knows
// nothing of queries and rules but what the drawn ones mean, says before every disposal what may go.
func TestNothingHeldOrTooYoungGoesAndWhatWasAppliedIsGone(t *testing.T) {
	fewer(t)
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		w := &world{T: rt, desk: newDesk(t, filepath.Join(dir, "data")), holds: map[string]drawnHold{}, rules: map[string]drawnRule{}}
		defer func() {
			w.desk.close()
			_ = os.RemoveAll(dir)
		}()
		if w.desk.dual = rapid.Bool().Draw(rt, "dual control"); w.desk.dual {
			w.desk.reopen(w.desk.options())
		}
		rt.Repeat(map[string]func(*rapid.T){
			"deposit": w.deposit, "place": w.place, "release": w.release, "add": w.add, "remove": w.remove,
			"wait": w.wait, "plan": w.makePlan, "approve": w.approve, "apply": w.applyPlan, "apply and crash": w.crash,
			"erase": w.erase, "rebuild": w.rebuild,
			"": w.check,
		})
	})
}

// fewer draws a number of sequences that a test run has time for: each is some hundred commits. -rapid.checks overrides it.
func fewer(t *testing.T) {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if given {
		return
	}
	was := flag.Lookup("rapid.checks").Value.String()
	if err := flag.Set("rapid.checks", "6"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("rapid.checks", was) })
}

// world is the archive and the model.
type world struct {
	*rapid.T
	desk     *desk
	deposits []*drawnDeposit
	holds    map[string]drawnHold
	rules    map[string]drawnRule
	plans    []drawnPlan
	count    int // for names
}

type drawnDeposit struct {
	text, mailbox, id string
	index             int64
	archived          time.Time
	gone              bool
}

type drawnPlan struct {
	id       string
	approved bool
	applied  bool
}

// A drawnHold covers what has the word, or cannot be searched, in the mailbox, and was received within the days. Empty is any.
type drawnHold struct {
	word, mailbox string
	from, to      time.Time // the first moment, and the first one after
}

// A drawnRule is for what has the word, in the mailbox. Empty is any; a word with a - is one that must be missing.
type drawnRule struct {
	word, mailbox string
	least, most   int // days, 0 is none
}

var (
	words     = []string{"", "smith", "jones", "bill"}
	mailboxes = []string{"sales", "legal"}
	// texts have each of the words, none, and one that cannot be searched.
	texts = []string{"smith one", "jones two", "smith jones three", "bill four", "five", "X-Flag: partial six"}
)

func unsearchable(text string) bool { return strings.Contains(text, "X-Flag") }

// covers is by message: a hold on a mailbox covers every deposit of what is in it.
func (w *world) covers(h drawnHold, d *drawnDeposit) bool {
	if h.word != "" && !strings.Contains(d.text, h.word) && !unsearchable(d.text) {
		return false
	}
	some := func(fits func(*drawnDeposit) bool) bool {
		return slices.ContainsFunc(w.deposits, func(other *drawnDeposit) bool { return other.id == d.id && !other.gone && fits(other) })
	}
	return (h.mailbox == "" || some(func(d *drawnDeposit) bool { return d.mailbox == h.mailbox })) &&
		(h.from.IsZero() || some(func(d *drawnDeposit) bool { return !d.archived.Before(h.from) && d.archived.Before(h.to) }))
}

func (w *world) held(d *drawnDeposit) bool {
	for _, h := range w.holds {
		if w.covers(h, d) {
			return true
		}
	}
	return false
}

// applies reports whether a rule surely matches a deposit, and whether it might.
func (r drawnRule) applies(d *drawnDeposit) (surely, perhaps bool) {
	if r.mailbox != "" && r.mailbox != d.mailbox {
		return false, false
	}
	word, without := strings.CutPrefix(r.word, "-")
	match := strings.Contains(d.text, word) != without
	if r.word == "" {
		return true, true
	}
	return match && (!without || !unsearchable(d.text)), match || unsearchable(d.text)
}

func (d *drawnDeposit) over(days int, now time.Time) bool {
	return !d.archived.AddDate(0, 0, days).After(now)
}

func (w *world) tooYoung(d *drawnDeposit) bool {
	for _, r := range w.rules {
		if _, perhaps := r.applies(d); perhaps && r.least > 0 && !d.over(r.least, w.desk.now) {
			return true
		}
	}
	return false
}

func (w *world) due(d *drawnDeposit) bool {
	due := false
	for _, r := range w.rules {
		surely, perhaps := r.applies(d)
		if perhaps && r.most > 0 && !d.over(r.most, w.desk.now) {
			return false
		}
		due = due || surely && r.most > 0
	}
	return due && !w.tooYoung(d)
}

func (w *world) deposit(t *rapid.T) {
	var batch []Delivery
	var drawn []*drawnDeposit
	for range rapid.IntRange(1, 3).Draw(t, "deposits") {
		w.count++
		text := rapid.SampledFrom(texts).Draw(t, "text")
		mailbox := rapid.SampledFrom(mailboxes).Draw(t, "mailbox")
		body := "Subject: " + text + "\r\n\r\n" + strings.Repeat(text, 20)
		m := delivery(mailbox, fmt.Sprint(w.count), body)
		batch = append(batch, m)
		drawn = append(drawn, &drawnDeposit{text: body, mailbox: mailbox, id: m.ID, archived: w.desk.now})
	}
	for i, r := range w.desk.put(batch...) {
		drawn[i].index, drawn[i].gone = r.Index, r.Disposed
		if r.Disposed && !slices.ContainsFunc(w.deposits, func(d *drawnDeposit) bool {
			return d.gone && d.id == drawn[i].id && d.mailbox == drawn[i].mailbox
		}) {
			t.Fatalf("%.30q stays out of %s, where none was disposed of", drawn[i].text, drawn[i].mailbox)
		}
	}
	w.deposits = append(w.deposits, drawn...)
}

func (w *world) place(t *rapid.T) {
	w.count++
	h := drawnHold{word: rapid.SampledFrom(words).Draw(t, "word"), mailbox: rapid.SampledFrom(append(mailboxes, "")).Draw(t, "mailbox")}
	name := fmt.Sprint("matter ", w.count)
	order := hold.Hold{Name: name, Reason: "r", Query: h.word}
	if h.mailbox != "" {
		order.Custodians = []string{h.mailbox}
	} else if h.word == "" {
		order.Query = "*"
	}
	if rapid.Bool().Draw(t, "days") { // around now, also those to come
		h.from = w.desk.now.UTC().Truncate(day).AddDate(0, 0, rapid.IntRange(-20, 10).Draw(t, "from"))
		last := h.from.AddDate(0, 0, rapid.IntRange(0, 20).Draw(t, "to"))
		h.to = last.AddDate(0, 0, 1)
		order.From, order.To = h.from.Format(hold.DayLayout), last.Format(hold.DayLayout)
	}
	if _, err := w.desk.c.PlaceHold(t.Context(), order, "olga"); err != nil {
		t.Fatal(err)
	}
	w.holds[name] = h
}

// key draws one of a map.
func key[V any](t *rapid.T, m map[string]V) (string, bool) {
	if len(m) == 0 {
		return "", false
	}
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return rapid.SampledFrom(all).Draw(t, "which"), true
}

func (w *world) release(t *rapid.T) {
	name, ok := key(t, w.holds)
	if !ok {
		return
	}
	if _, err := w.desk.c.ReleaseHold(t.Context(), name, "over", "olga"); err != nil {
		t.Fatal(err)
	}
	w.agree(t)
	delete(w.holds, name)
}

func (w *world) add(t *rapid.T) {
	w.count++
	r := drawnRule{rapid.SampledFrom(append(words, "-smith")).Draw(t, "word"), rapid.SampledFrom(append(mailboxes, "")).Draw(t, "mailbox"),
		rapid.SampledFrom([]int{0, 0, 5, 20}).Draw(t, "least"), rapid.SampledFrom([]int{0, 20, 30}).Draw(t, "most")}
	if r.least == 0 && r.most == 0 {
		r.most = 20
	}
	name := fmt.Sprint("rule ", w.count)
	if _, err := w.desk.c.AddRule(t.Context(), retention.Rule{Name: name, Query: r.word, Mailbox: r.mailbox,
		Min: retention.Period{Days: r.least}, Max: retention.Period{Days: r.most}}, "olga"); err != nil {
		t.Fatal(err)
	}
	w.rules[name] = r
}

func (w *world) remove(t *rapid.T) {
	name, ok := key(t, w.rules)
	if !ok {
		return
	}
	if err := w.desk.c.RemoveRule(t.Context(), name, "olga"); err != nil {
		t.Fatal(err)
	}
	w.agree(t)
	delete(w.rules, name)
}

// agree is the second person's approval of what takes two.
func (w *world) agree(t *rapid.T) {
	if !w.desk.dual {
		return
	}
	if err := agree(t.Context(), w.desk.s, w.desk.c, "paul"); err != nil {
		t.Fatal(err)
	}
}

func (w *world) wait(t *rapid.T) {
	w.desk.now = w.desk.now.Add(time.Duration(rapid.IntRange(1, 15*24).Draw(t, "hours")) * time.Hour)
}

func (w *world) makePlan(t *rapid.T) {
	p, err := w.desk.c.Plan(t.Context(), "olga", true)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, d := range w.deposits {
		if !d.gone && w.due(d) && !w.held(d) {
			want++
		}
	}
	if p.Due != want {
		t.Fatalf("the plan has %d deposits, the model %d", p.Due, want)
	}
	if p.ID != "" {
		w.plans = append(w.plans, drawnPlan{id: p.ID})
	}
}

func (w *world) draw(t *rapid.T) *drawnPlan {
	if len(w.plans) == 0 {
		return nil
	}
	return &w.plans[rapid.IntRange(0, len(w.plans)-1).Draw(t, "plan")]
}

func (w *world) approve(t *rapid.T) {
	p := w.draw(t)
	if p == nil {
		return
	}
	by := rapid.SampledFrom([]string{"olga", "paul"}).Draw(t, "by")
	_, err := w.desk.c.Approve(withAccount(t.Context()), p.id, by)
	want := p.approved || p.applied || w.desk.dual && by == "olga"
	if (err != nil) != want {
		t.Fatalf("approval of %+v by %s: %v", p, by, err)
	}
	p.approved = p.approved || err == nil
}

func (w *world) mayApply(p *drawnPlan) bool { return !p.applied && (p.approved || !w.desk.dual) }

func (w *world) applyPlan(t *rapid.T) {
	p := w.draw(t)
	if p == nil {
		return
	}
	planned, err := w.desk.s.Plan(t.Context(), p.id)
	if err != nil {
		t.Fatal(err)
	}
	must := w.mustGo(&planned)
	_, err = w.desk.c.Apply(t.Context(), p.id, "olga", true)
	refused := planned.Kind == Erasure && (errors.Is(err, ErrHeld) || errors.Is(err, ErrTooYoung))
	if (err == nil) != w.mayApply(p) && !refused {
		t.Fatalf("apply of %+v: %v", p, err)
	}
	if err == nil {
		p.applied = true
	}
	w.compare(t, func(d *drawnDeposit) bool { return err == nil && must[d.index] }, err == nil)
}

// mustGo is what of a plan is due and not held now.
func (w *world) mustGo(p *Plan) map[int64]bool {
	must := map[int64]bool{}
	for _, item := range p.items {
		for _, d := range w.deposits {
			r, ok := w.rules[item.Rule]
			if slices.Contains(item.Deposits, d.index) && !d.gone && ok && w.due(d) && !w.held(d) && w.longest(r, d) {
				must[d.index] = true
			}
		}
	}
	return must
}

// longest reports whether no other rule that is over asks for more: the plan named another one then.
func (w *world) longest(r drawnRule, d *drawnDeposit) bool {
	for _, other := range w.rules {
		if surely, _ := other.applies(d); surely && other.most >= r.most && other != r {
			return false
		}
	}
	return true
}

// crash applies a plan on a disk that goes away, and opens the archive again.
func (w *world) crash(t *rapid.T) {
	p := w.draw(t)
	if p == nil {
		return
	}
	d := w.desk
	armed := false
	faulty := disktest.NewFaulty(d.fs, disktest.Fault{
		At: rapid.IntRange(1, 60).Draw(t, "at"), Mode: rapid.SampledFrom([]disktest.Mode{disktest.Fail, disktest.FailPersisted, disktest.Torn}).Draw(t, "mode"),
		Bytes: 5, Crash: true, Only: func(disktest.Op) bool { return armed },
	})
	o := d.options()
	o.FS = faulty
	d.close()
	d.open(o)
	armed = true
	_, err := d.c.Apply(t.Context(), p.id, "olga", true)
	d.c.Close()
	_ = d.s.Close()
	d.open(d.options())
	if err := d.c.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, planErr := d.s.Plan(t.Context(), p.id)
	if planErr != nil {
		t.Fatal(planErr)
	}
	if err == nil || after.State == StateApplied {
		p.applied = true
	}
	w.compare(t, nil, p.applied)
}

func (w *world) erase(t *rapid.T) {
	if len(w.deposits) == 0 {
		return
	}
	d := rapid.SampledFrom(w.deposits).Draw(t, "message")
	var held, young, there bool
	for _, one := range w.deposits {
		if one.id == d.id && !one.gone {
			there = true
			held, young = held || w.held(one), young || w.tooYoung(one)
		}
	}
	p, _, err := w.desk.c.Erase(t.Context(), d.id, "a request", "olga", true)
	switch {
	case !there && !errors.Is(err, ErrNotFound), there && held && !errors.Is(err, ErrHeld), there && !held && young && !errors.Is(err, ErrTooYoung):
		t.Fatalf("erasure (there %v, held %v, too young %v): %v", there, held, young, err)
	case there && !held && !young && err != nil:
		t.Fatal(err)
	}
	if err == nil && w.desk.dual {
		w.plans = append(w.plans, drawnPlan{id: p.ID})
	} else if err == nil {
		w.compare(t, func(one *drawnDeposit) bool { return one.id == d.id }, true)
	}
}

func (w *world) rebuild(t *rapid.T) {
	o := w.desk.options()
	o.RebuildCatalog = rapid.Bool().Draw(t, "catalog")
	before := everyDeposit(t.Context(), t, w.desk.s)
	w.desk.reopen(o)
	if after := everyDeposit(t.Context(), t, w.desk.s); !slices.Equal(before, after) {
		t.Fatalf("there is now\n%s\nbefore there was\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
}

// compare takes over what has gone, and complains about what should not have, or should have.
func (w *world) compare(t *rapid.T, must func(*drawnDeposit) bool, disposed bool) {
	for _, d := range w.deposits {
		if d.gone {
			continue
		}
		gone := !w.there(t, d)
		switch {
		case gone && w.held(d):
			t.Fatalf("deposit %d (%.30q in %s) went under a hold", d.index, d.text, d.mailbox)
		case gone && w.tooYoung(d):
			t.Fatalf("deposit %d (%.30q in %s) went before its time", d.index, d.text, d.mailbox)
		case gone && !disposed:
			t.Fatalf("deposit %d went although nothing was applied", d.index)
		case !gone && must != nil && must(d):
			t.Fatalf("deposit %d (%.30q in %s) was to go and is there", d.index, d.text, d.mailbox)
		}
	}
	for _, d := range w.deposits {
		d.gone = d.gone || !w.there(t, d)
	}
}

func (w *world) there(t *rapid.T, d *drawnDeposit) bool {
	held, err := w.desk.s.catalog.ByMessage(t.Context(), d.id)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range held {
		if h.Index == d.index {
			return true
		}
	}
	return false
}

// check is what holds at any time: what is there can be read, and of what is not there nothing is left.
func (w *world) check(t *rapid.T) {
	sameTotals(t, w.desk.s)
	live := map[string]bool{}
	for _, d := range w.deposits {
		if there := w.there(t, d); there == d.gone {
			t.Fatalf("deposit %d: gone is %v", d.index, d.gone)
		}
		live[d.id] = live[d.id] || !d.gone
	}
	for _, d := range w.deposits {
		switch {
		case live[d.id] && len(w.desk.live(d.id)) == 0:
			t.Fatalf("%.30q is not listed", d.text)
		case live[d.id]:
			damaged, err := w.desk.s.Damaged(t.Context(), []string{d.id})
			if err != nil || len(damaged) > 0 {
				t.Fatalf("%.30q cannot be read: %v", d.text, err)
			}
		case w.desk.inVolumes(d.text):
			t.Fatalf("%.30q is left in a volume", d.text)
		}
	}
}
