package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// A programKind is something that may happen.
type programKind struct {
	name   string
	weight int
	do     func(*programTrial, *rand.Rand)
}

// typedBeside are the commands that may run at the same time.
var typedBeside = []programKind{
	{"poll", 10, (*programTrial).poll},
	{"rebuild catalog", 3, (*programTrial).rebuildCatalog},
	{"rebuild index", 2, (*programTrial).rebuildIndex},
	{"verify", 2, (*programTrial).verify},
	{"export", 1, (*programTrial).exportBeside},
	{"hold", 6, (*programTrial).hold},
	{"release", 2, (*programTrial).release},
	{"rule", 3, (*programTrial).rule},
	{"unrule", 1, (*programTrial).unrule},
	{"plan and apply", 5, (*programTrial).dispose},
	{"erase", 8, (*programTrial).erase},
}

var programKinds = append([]programKind{
	{"wait", 4, (*programTrial).wait},
	{"set the clock", 2, (*programTrial).jump},
	{"restart", 3, (*programTrial).restart},
	{"kill", 3, (*programTrial).kill},
	{"at the same time", 10, (*programTrial).atOnce},
}, typedBeside...)

func pick(rng *rand.Rand, kinds []programKind) programKind {
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

var programWords = []string{"smith", "jones", "bill"}

// deliver brings new mail to the servers: some of it to both, some that was there before.
func (x *programTrial) deliver(rng *rand.Rand) {
	for range 1 + rng.IntN(5) {
		token := x.name("token")
		word, attached, sender := oneOf(rng, programWords...), "", oneOf(rng, senders...)
		if rng.IntN(2) == 0 {
			attached = oneOf(rng, "contract", "salary")
		}
		mail := newMail(token, sender, word, attached, rng.IntN(8) == 0)
		boxes := oneOf(rng, programBoxes[:1], programBoxes[1:], programBoxes)
		x.mu.Lock()
		for _, box := range boxes {
			x.m.deliver(box, mail, x.trueTime())
			if err := x.server.Deliver(box, pop3test.Bytes([]byte(mail.text))); err != nil {
				x.m.problem("%v", err)
			}
		}
		x.mu.Unlock()
	}
}

func (x *programTrial) poll(rng *rand.Rand) {
	x.deliver(rng)
	x.mu.Lock()
	x.faulty = rng.IntN(2) == 0
	x.mu.Unlock()
	args := []string{"poll"}
	if rng.IntN(2) == 0 {
		args = append(args, "--mailbox", oneOf(rng, programBoxes...))
	}
	x.typed([]string{"left", "LEFT", "MAILBOX"}, args...)
}

func (x *programTrial) rebuildCatalog(*rand.Rand) {
	x.typed([]string{"being made anew already"}, "rebuild", "catalog")
}

func (x *programTrial) rebuildIndex(*rand.Rand) { x.typed(nil, "rebuild", "index") }

func (x *programTrial) verify(rng *rand.Rand) {
	args := []string{"verify"}
	if rng.IntN(2) == 0 {
		args = append(args, "--deep")
	}
	x.typed([]string{"being verified already"}, args...)
}

func (x *programTrial) exportBeside(*rand.Rand) {
	x.typed([]string{"nothing", "no messages"}, "export", "--format", "mbox", "--out", x.dir+"/"+x.name("export")+".mbox")
}

// order notes an order that a command is about to give.
func (x *programTrial) order(all map[string]*programOrder, name string, o *programOrder) {
	x.mu.Lock()
	defer x.mu.Unlock()
	o.step = x.step
	all[name] = o
}

// after notes whether a command that began or ended an order has succeeded.
func (x *programTrial) after(o *programOrder, ends, done bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	o.step = x.step
	if ends {
		o.maybeReleased, o.released = true, o.released || done
	} else {
		o.placed = done
	}
}

func (x *programTrial) hold(rng *rand.Rand) {
	o := &programOrder{}
	name := x.name("matter")
	args := []string{"hold", "place", "--name", name, "--reason", "r"}
	switch rng.IntN(6) {
	case 0:
		o.custodian = oneOf(rng, programBoxes...)
	case 1, 2:
		o.custodian = heldSender
	case 3:
		o.word = oneOf(rng, programWords...)
	default:
		o.word = oneOf(rng, "contract", "salary")
	}
	if o.custodian != "" {
		args = append(args, "--custodian", o.custodian)
	}
	if o.word != "" {
		args = append(args, "--query", o.word)
	}
	if o.word+o.custodian == "" {
		args = append(args, "--query", "*")
	}
	x.order(x.m.holds, name, o)
	// One that covers nothing is asked about; what it covers may not be known yet. It is in force all the same.
	r := x.typed([]string{"is in force"}, args...)
	x.after(o, false, strings.Contains(r.stdout, "is in force"))
}

// drawOrder draws one that is surely in force.
func (x *programTrial) drawOrder(rng *rand.Rand, all map[string]*programOrder) (string, *programOrder) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var names []string
	for name, o := range all {
		if o.sure(x.step) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	slices.Sort(names)
	name := oneOf(rng, names...)
	all[name].maybeReleased, all[name].step = true, x.step
	return name, all[name]
}

func (x *programTrial) release(rng *rand.Rand) {
	name, o := x.drawOrder(rng, x.m.holds)
	if o != nil {
		x.after(o, true, x.typed(nil, "hold", "release", name, "--reason", "over").code == exitDone)
	}
}

// rule adds a rule: in days where there is a clock for that, else in seconds.
func (x *programTrial) rule(rng *rand.Rand) {
	unit, suffix := 24*time.Hour, "d"
	if !x.inside {
		unit, suffix = time.Second, "s"
	}
	o := &programOrder{custodian: oneOf(rng, append(programBoxes, "")...)}
	name := x.name("rule")
	args := []string{"retention", "policy", "add", "--name", name}
	if o.custodian != "" {
		args = append(args, "--mailbox", o.custodian)
	}
	least, most := oneOf(rng, 0, 0, 0, 2), oneOf(rng, 0, 3, 3, 5)
	if least+most == 0 {
		most = 3
	}
	if least > 0 {
		args = append(args, "--min", fmt.Sprint(least, suffix))
	}
	if most > 0 {
		args = append(args, "--max", fmt.Sprint(most, suffix))
	}
	o.min, o.max = time.Duration(least)*unit, time.Duration(most)*unit
	x.order(x.m.rules, name, o)
	x.after(o, false, x.typed(nil, args...).code == exitDone)
}

func (x *programTrial) unrule(rng *rand.Rand) {
	name, o := x.drawOrder(rng, x.m.rules)
	if o != nil {
		x.after(o, true, x.typed(nil, "retention", "policy", "remove", name).code == exitDone)
	}
}

// correct sets a wrong clock right, as often as not: nothing is disposed of before that.
func (x *programTrial) correct(rng *rand.Rand) {
	if rng.IntN(3) > 0 && x.offset.Swap(0) != 0 {
		x.note("the clock is set right")
	}
}

// watched adds what an officer says who has looked at a watch.
func (x *programTrial) watched(args ...string) []string {
	if x.offset.Load() == 0 {
		return append(args, "--"+confirmClock)
	}
	return args
}

func (x *programTrial) dispose(rng *rand.Rand) {
	x.correct(rng)
	refusals := []string{"the clock may be wrong", "the index is not complete"}
	r := x.typed(refusals, x.watched("retention", "plan", "--json")...)
	var p struct {
		ID string `json:"id"`
	}
	if r.code != exitDone || json.Unmarshal([]byte(r.stdout), &p) != nil || p.ID == "" {
		return
	}
	x.typed(refusals, x.watched("retention", "apply", p.ID, "--yes")...)
}

// erase asks for the erasure of a message, as often as not of one that is held.
func (x *programTrial) erase(rng *rand.Rand) {
	id := x.drawMail(rng)
	if id == "" {
		return
	}
	x.correct(rng)
	x.typed([]string{"under a legal hold", "has to be kept", "no such message", "the clock may be wrong", "the index is not complete"},
		x.watched("erase", id, "--reason", "a request", "--yes")...)
}

func (x *programTrial) drawMail(rng *rand.Rand) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	held := rng.IntN(2) == 0
	var ids, all []string
	for c, state := range x.m.copies {
		if !state.archived || state.gone {
			continue
		}
		all = append(all, c.id)
		for _, h := range x.m.holds {
			if held && h.sure(x.step) && x.m.covers(h, x.m.mail[c.id]) {
				ids = append(ids, c.id)
				break
			}
		}
	}
	if len(ids) == 0 {
		ids = all
	}
	if len(ids) == 0 {
		return ""
	}
	slices.SortFunc(ids, func(a, b string) int { return strings.Compare(x.m.mail[a].token, x.m.mail[b].token) })
	id := oneOf(rng, ids...)
	x.m.erased[id] = true
	return id
}

// wait lets time go by: days where there is a clock for that.
func (x *programTrial) wait(rng *rand.Rand) {
	if x.inside {
		x.waited.Add(int64(time.Duration(1+rng.IntN(60)) * time.Hour))
	}
	x.note("wait")
}

func (x *programTrial) jump(rng *rand.Rand) {
	if !x.inside {
		return
	}
	const day = 24 * time.Hour
	x.offset.Store(int64(oneOf(rng, 0, 0, 365*day, 10*day, -6*365*day, -2*day)))
	x.note("the clock is off by %s", time.Duration(x.offset.Load()))
}

// restart stops a running program, or starts one; sometimes attachments are read from then on, or no more.
func (x *programTrial) restart(rng *rand.Rand) {
	x.stopDaemon(false)
	if rng.IntN(2) == 0 {
		x.extract = !x.extract
		x.configure()
	}
	x.note("restart, attachments are read: %v", x.extract)
	if rng.IntN(4) > 0 {
		x.startDaemon()
	}
}

// kill kills the running program at some moment of what goes on.
func (x *programTrial) kill(rng *rand.Rand) {
	x.startDaemon()
	if x.inside {
		x.note("stop in the middle")
	}
	x.killed = true
	var group sync.WaitGroup
	for range 1 + rng.IntN(3) {
		k, own := pick(rng, typedBeside), rand.New(rand.NewPCG(rng.Uint64(), 0))
		group.Go(func() { x.do(own, k) })
	}
	timer := time.NewTimer(time.Duration(rng.IntN(400)) * time.Millisecond)
	<-timer.C
	x.stopDaemon(true)
	x.note("killed")
	group.Wait()
	x.startDaemon()
}

// atOnce runs several commands at the same time, mostly with a running program.
func (x *programTrial) atOnce(rng *rand.Rand) {
	if rng.IntN(6) > 0 {
		x.startDaemon()
	}
	x.unseen = true
	var group sync.WaitGroup
	for range 2 + rng.IntN(3) {
		k, own := pick(rng, typedBeside), rand.New(rand.NewPCG(rng.Uint64(), 0))
		group.Go(func() { x.do(own, k) })
	}
	group.Wait()
	x.unseen = false
}
