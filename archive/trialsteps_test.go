package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/archive/retention"
)

// A trialKind is something that may happen.
type trialKind struct {
	name   string
	weight int
	do     func(*trial, *rand.Rand)
}

// beside are the things that may happen at the same time.
var beside = []trialKind{
	{"put", 10, (*trial).put},
	{"record a poll", 2, (*trial).poll},
	{"rebuild the catalog", 4, (*trial).rebuild},
	{"verify", 2, (*trial).verify},
	{"seal", 1, (*trial).seal},
	{"repack", 2, (*trial).repack},
	{"hold", 2, (*trial).hold},
	{"release", 2, (*trial).release},
	{"add a rule", 2, (*trial).rule},
	{"remove a rule", 1, (*trial).unrule},
	{"plan", 4, (*trial).plan},
	{"approve", 2, (*trial).approve},
	{"apply", 5, (*trial).apply},
	{"erase", 2, (*trial).erase},
	{"read", 2, (*trial).read},
}

// trialKinds are all the things that may happen.
var trialKinds = append([]trialKind{
	{"wait", 10, (*trial).wait},
	{"set the clock", 6, (*trial).jump},
	{"restart", 2, (*trial).restart},
	{"kill", 1, (*trial).kill},
	{"cut the power", 1, (*trial).cut},
	{"fill the disk", 1, (*trial).fill},
	{"disk fault", 5, func(x *trial, rng *rand.Rand) { x.trouble(rng) }},
	{"at the same time", 10, (*trial).atOnce},
}, beside...)

func pick(rng *rand.Rand, kinds []trialKind) trialKind {
	all := 0
	for _, k := range kinds {
		all += k.weight
	}
	n := rng.IntN(all)
	for _, k := range kinds {
		if n -= k.weight; n < 0 {
			return k
		}
	}
	panic("not reached")
}

func oneOf[V any](rng *rand.Rand, all ...V) V { return all[rng.IntN(len(all))] }

// body makes a message with a word that no other one has.
func (x *trial) body(rng *rand.Rand) string {
	token := x.name("token") + "."
	text := oneOf(rng, texts...)
	switch rng.IntN(30) {
	case 0:
		return token // hardly a message
	case 1:
		return "Subject: " + text + "\r\n\r\n" + token + strings.Repeat("large as attachments are\r\n", 60_000)
	case 2, 3, 4, 5: // with an attachment that others have, too
		return fmt.Sprintf("Subject: %s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n%s\r\n--b\r\n\r\n%s\r\n--b--\r\n",
			text, token, strings.Repeat(fmt.Sprint("attachment ", rng.IntN(3), "\r\n"), 3000))
	}
	return "Message-ID: <" + token + "@x>\r\nSubject: " + text + "\r\n\r\n" + strings.Repeat(token+" "+text+"\r\n", rng.IntN(40))
}

// known draws a message that was delivered before.
func (x *trial) known(rng *rand.Rand) (text string, key depositKey, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.m.keys) == 0 {
		return "", depositKey{}, false
	}
	indexes := make([]int64, 0, len(x.m.keys))
	for i := range x.m.keys {
		indexes = append(indexes, i)
	}
	slices.Sort(indexes)
	key = x.m.keys[oneOf(rng, indexes...)]
	return x.m.texts[key.id], key, true
}

// delivery draws a new message, or one that is there in the same or another mailbox, under the same or another UIDL.
func (x *trial) delivery(rng *rand.Rand) Delivery {
	text, key, again := x.known(rng)
	mailbox, uidl := oneOf(rng, mailboxes...), x.name("uidl")
	if again = again && rng.IntN(4) == 0; again {
		if rng.IntN(2) == 0 {
			mailbox, uidl = key.mailbox, key.uidl
		}
	} else {
		text = x.body(rng)
	}
	d := delivery(mailbox, uidl, text)
	if rng.IntN(2) == 0 {
		d.Body = bytes.NewReader([]byte(text))
	}
	d.Received = x.now()
	x.mu.Lock()
	x.m.texts[d.ID] = text
	x.mu.Unlock()
	return d
}

func (x *trial) put(rng *rand.Rand) {
	batch := make([]Delivery, 1+rng.IntN(4))
	for i := range batch {
		batch[i] = x.delivery(rng)
	}
	receipts, err := x.s.Put(x.Context(), batch)
	x.note("put %d: %v", len(batch), err)
	if !x.worked("put", err, ErrReadOnly) {
		return
	}
	for i, r := range receipts {
		d := &batch[i]
		switch {
		case r.ID != d.ID || r.Refused != "" || r.Index < 0:
			x.problem("receipt %+v for %s", r, d.ID)
		case !r.Disposed:
			x.ack(depositSeen(r.Index, r.ID))
			x.mu.Lock()
			x.m.keys[r.Index] = depositKey{d.ID, d.Mailbox, d.UIDL, d.ListedSize}
			x.mu.Unlock()
		}
	}
}

func (x *trial) poll(rng *rand.Rand) {
	r := PollReport{Mailbox: oneOf(rng, mailboxes...), Session: x.name("session"), Started: x.now()}
	var vouched []int64
	x.mu.Lock()
	for index, d := range x.m.deposits { // which changes between steps only
		if _, tried := x.m.vouch[index]; d.mailbox == r.Mailbox && index%2 == int64(x.step%2) && !tried {
			vouched = append(vouched, index)
			x.m.vouch[index] = false
		}
	}
	x.mu.Unlock()
	slices.Sort(vouched)
	r.Confirmed = NewRuns(vouched)
	err := x.s.RecordPoll(x.Context(), r)
	x.note("record poll: %v", err)
	if x.worked("record a poll", err) {
		x.ack("poll " + r.Session)
		x.mu.Lock()
		for _, index := range vouched {
			x.m.vouch[index] = true
		}
		x.mu.Unlock()
	}
}

func (x *trial) rebuild(*rand.Rand) {
	err := x.s.RebuildCatalog(x.Context(), func(context.Context, *Store) error { return nil })
	x.note("rebuild catalog: %v", err)
	x.worked("rebuild the catalog", err, ErrRebuilding)
}

func (x *trial) verify(rng *rand.Rand) {
	r, err := x.s.Verify(x.Context(), VerifyOptions{Deep: rng.IntN(2) == 0, Restart: true})
	x.note("verify: %d damages, %v", r.Damages, err)
	if x.worked("verify", err, ErrVerifying) && r.Damages > 0 && !x.struck.Load() {
		x.problem("verify: %+v", r.Damage)
	}
}

func (x *trial) seal(*rand.Rand) {
	err := x.s.Seal(x.Context())
	x.note("seal: %v", err)
	x.worked("seal", err)
}

func (x *trial) repack(*rand.Rand) {
	err := x.s.Repack(x.Context(), RepackOptions{})
	x.note("repack: %v", err)
	x.worked("repack", err)
}

func (x *trial) hold(rng *rand.Rand) {
	drawn := drawnHold{word: oneOf(rng, words[rng.IntN(2):]...), mailbox: oneOf(rng, append(mailboxes, "")...)}
	h := hold.Hold{Name: x.name("matter"), Reason: "r", Query: drawn.word}
	if drawn.mailbox != "" {
		h.Custodians = []string{drawn.mailbox}
	} else if drawn.word == "" {
		h.Query = "*"
	}
	if !x.jumps && rng.IntN(3) == 0 { // days around now
		drawn.from = x.now().Truncate(day).AddDate(0, 0, rng.IntN(30)-20)
		last := drawn.from.AddDate(0, 0, rng.IntN(20))
		drawn.to = last.AddDate(0, 0, 1)
		h.From, h.To = drawn.from.Format(hold.DayLayout), last.Format(hold.DayLayout)
	}
	x.mu.Lock()
	x.m.asHold[h.Name] = drawn
	x.mu.Unlock()
	_, err := x.c.PlaceHold(x.Context(), h, "olga")
	x.note("hold %+v: %v", h, err)
	if x.worked("place a hold", err) {
		x.ack("hold " + h.Name)
	}
}

// inForce draws the name of a hold or rule that was in force before this step.
func (x *trial) inForce(rng *rand.Rand, all map[string]*span) string {
	names := inForce(all) // which changes between steps only
	if len(names) == 0 {
		return ""
	}
	return oneOf(rng, names...)
}

func (x *trial) release(rng *rand.Rand) {
	name := x.inForce(rng, x.m.holds)
	if name == "" {
		return
	}
	_, err := x.c.ReleaseHold(x.Context(), name, "over", "olga")
	if x.dual && (err == nil || errors.Is(err, ErrOrder)) {
		err = x.agree(ChangeRelease, name)
	}
	x.note("release %s: %v", name, err)
	if x.worked("release a hold", err) {
		x.ack("release " + name)
	}
}

func (x *trial) rule(rng *rand.Rand) {
	drawn := drawnRule{oneOf(rng, append(words, "-smith")...), oneOf(rng, append(mailboxes, "")...), oneOf(rng, 0, 0, 0, 0, 5, 20), oneOf(rng, 0, 20, 20, 20, 30)}
	if drawn.least == 0 && drawn.most == 0 {
		drawn.most = 20
	}
	r := retention.Rule{Name: x.name("rule"), Query: drawn.word, Mailbox: drawn.mailbox,
		Min: retention.Period{Days: drawn.least}, Max: retention.Period{Days: drawn.most}}
	x.mu.Lock()
	x.m.asRule[r.Name] = drawn
	x.mu.Unlock()
	_, err := x.c.AddRule(x.Context(), r, "olga")
	x.note("%+v: %v", r, err)
	if x.worked("add a rule", err) {
		x.ack("rule " + r.Name)
	}
}

// agree is the second person's approval of a change.
func (x *trial) agree(kind, name string) error {
	pending, err := x.s.Pending(x.Context(), kind)
	if err == nil {
		_, err = x.c.ApproveChange(withAccount(x.Context()), pending[name], "paul")
	}
	return err
}

func (x *trial) unrule(rng *rand.Rand) {
	name := x.inForce(rng, x.m.rules)
	if name == "" {
		return
	}
	err := x.c.RemoveRule(x.Context(), name, "olga")
	if x.dual && (err == nil || errors.Is(err, ErrOrder)) { // also what was asked for before and failed
		err = x.agree(ChangeRemove, name)
	}
	x.note("remove %s: %v", name, err)
	if x.worked("remove a rule", err) {
		x.ack("remove " + name)
	}
}

// vouched is called after a disposal or a plan of one, for which an officer has to have confirmed a clock that was set.
func (x *trial) vouched(what string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.watch() {
		x.doubtful = false
	} else if x.doubtful {
		x.m.problem("%s, and nobody has confirmed the clock, which was set", what)
	}
}

// watch is whether an officer who looks at a watch says that the clock is right.
func (x *trial) watch() bool { return x.offset.Load() == 0 }

func (x *trial) plan(*rand.Rand) {
	p, err := x.c.Plan(x.Context(), "olga", x.watch())
	x.note("plan %s: %d due, %d held, %v", p.ID, p.Due, p.Held, err)
	if !x.worked("plan", err, ErrClock) {
		return
	}
	x.vouched("plan")
	// How long the machine stood still after a power cut nobody can say for certain, so that less may be due.
	if want := x.m.due(x.trueTime()); !x.jumps && !x.unseen && (p.Due > want || p.Due < want && x.cuts == 0) {
		x.problem("the plan has %d deposits, not %d", p.Due, want)
	}
}

// drawPlan draws one of the plans that have not been applied, mostly the newest.
func (x *trial) drawPlan(rng *rand.Rand) string {
	newest, plans := "", []string{}
	for id, p := range x.m.plans { // which changes between steps only
		if p.gone == 0 && !p.done {
			plans = append(plans, id)
		}
	}
	slices.SortFunc(plans, func(a, b string) int { return len(a)*1e6 - len(b)*1e6 + strings.Compare(a, b) })
	if len(plans) == 0 {
		return ""
	}
	if newest = plans[len(plans)-1]; rng.IntN(3) > 0 {
		return newest
	}
	return oneOf(rng, plans...)
}

func (x *trial) approve(rng *rand.Rand) {
	id, by := x.drawPlan(rng), oneOf(rng, "olga", "paul", "paul")
	if id == "" {
		return
	}
	_, err := x.c.Approve(withAccount(x.Context()), id, by)
	x.note("%s approves %s: %v", by, id, err)
	if x.worked("approve", err, ErrOrder, ErrApproval) {
		x.ack("approve " + id)
	}
}

func (x *trial) apply(rng *rand.Rand) {
	id := x.drawPlan(rng)
	if id == "" {
		return
	}
	d, err := x.c.Apply(x.Context(), id, "olga", x.watch())
	x.note("apply %s: %+v, %v", id, d, err)
	if x.worked("apply", err, ErrOrder, ErrApproval, ErrClock, ErrHeld, ErrTooYoung) {
		x.ack("done " + id)
		x.vouched("apply")
	}
}

func (x *trial) erase(rng *rand.Rand) {
	_, key, ok := x.known(rng)
	if !ok {
		return
	}
	p, d, err := x.c.Erase(x.Context(), key.id, "a request", "olga", x.watch())
	x.note("erase %.12s: %s, %+v, %v", key.id, p.ID, d, err)
	if x.worked("erase", err, ErrNotFound, ErrHeld, ErrTooYoung, ErrClock) {
		x.vouched("erase")
		if !x.dual {
			x.ack("done " + p.ID)
		}
	}
}

// read reads a message that is there, byte for byte.
func (x *trial) read(rng *rand.Rand) {
	text, key, ok := x.known(rng)
	if !ok {
		return
	}
	got, err := x.bytesOf(key.id)
	if x.worked("read", err, ErrNotFound, fs.ErrClosed) && got != text {
		x.problem("message %s has %d other bytes", key.id, len(got))
	}
}

func (x *trial) bytesOf(id string) (string, error) {
	body, err := x.s.OpenMessage(x.Context(), id)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(body)
	return string(data), errors.Join(err, body.Close())
}

func (x *trial) wait(rng *rand.Rand) {
	d := time.Duration(1+rng.IntN(15*24)) * time.Hour
	if rng.IntN(3) == 0 {
		d = time.Duration(1+rng.IntN(60)) * time.Minute
	}
	x.truth.Add(int64(d))
	x.note("wait %s", d)
}

func (x *trial) jump(rng *rand.Rand) {
	if !x.jumps {
		return
	}
	const year = 365 * day
	was := x.offset.Swap(int64(oneOf(rng, 0, 0, 0, year, 100*day, -6*year, -30*day, 10*year)))
	x.doubtful = x.doubtful || was != x.offset.Load() && x.m.size > 0 // an archive without events knows no time
	x.note("the clock is off by %s", time.Duration(x.offset.Load()))
}

func (x *trial) restart(rng *rand.Rand) {
	anew := rng.IntN(3) == 0
	x.close()
	x.note("restart, rebuild catalog: %v", anew)
	x.open(rng, func(o *Options) { o.RebuildCatalog = anew })
}

// kill leaves all that was written, as the system has it.
func (x *trial) kill(rng *rand.Rand) {
	x.struck.Store(true)
	x.close()
	x.note("kill")
	x.m.restart()
	x.open(rng)
}

func (x *trial) cut(rng *rand.Rand) {
	x.note("cut the power")
	x.powerCut(rng)
	x.open(rng)
}

// fill lets the disk be too full for mail during some steps. What people say is taken all the same.
func (x *trial) fill(rng *rand.Rand) {
	x.full.Store(true)
	x.unseen = true
	x.note("the disk is full")
	if _, err := x.s.Put(x.Context(), []Delivery{x.delivery(rng)}); !errors.Is(err, ErrReadOnly) {
		x.problem("put on a full disk: %v", err)
	}
	for range 1 + rng.IntN(4) {
		x.do(rng, pick(rng, beside))
	}
	x.full.Store(false)
	x.unseen = false
}

// trouble lets an operation on the disk fail during some steps, or the power go then.
func (x *trial) trouble(rng *rand.Rand) {
	x.note("the disk will fail (%s, crash %v)", x.fault.Mode, x.fault.Crash)
	x.countdown.Store(1 + rng.Int64N(60))
	if rng.IntN(3) == 0 {
		x.atOnce(rng)
	}
	x.unseen = true
	for range 4 {
		if !x.struck.Load() {
			x.do(rng, pick(rng, beside))
		}
	}
	x.unseen = false
	x.countdown.Store(0)
	switch {
	case !x.struck.Load():
		return
	case x.fault.Crash && rng.IntN(2) == 0:
		x.note("which has cut the power")
		x.powerCut(rng)
	default:
		x.close()
		x.m.restart()
	}
	x.open(rng)
}

// atOnce does several things at the same time.
func (x *trial) atOnce(rng *rand.Rand) {
	x.unseen = true
	x.jitter.on.Store(true)
	var group sync.WaitGroup
	names := []string{}
	for range 2 + rng.IntN(3) {
		k, own := pick(rng, beside), rand.New(rand.NewPCG(rng.Uint64(), 0))
		names = append(names, k.name)
		times := 1
		if k.name == "put" {
			times += rng.IntN(4)
		}
		group.Go(func() {
			for range times {
				x.do(own, k)
			}
		})
	}
	x.note("at the same time: %s", strings.Join(names, ", "))
	group.Wait()
	x.jitter.on.Store(false)
	x.unseen = false
}
