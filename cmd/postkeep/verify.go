package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
)

// verifyFlags are the options of postkeep verify.
type verifyFlags struct {
	deep, restart, asJSON bool
	checkpoint, save      string // files
	rate                  string
	volume                uint32
}

func (a *app) verifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use: "verify", Short: "Prove that the archive is what it was", Args: cobra.NoArgs,
		Long: `Compares the files of the archive with each other and with what was signed: the
ledger's chain, signatures and keys, sizes, seek tables, the catalog, the number
of documents in the index. With --deep every byte is read and every message
compared with its SHA-256; that takes a while, shows its progress, and goes on
where it was when it is interrupted and called again.

A checkpoint that was saved earlier (--save-checkpoint), or printed by
"status --json", and kept elsewhere, shows with --checkpoint that nothing was
taken away or replaced since, also not by somebody who has the keys.

Without a running instance nothing is changed while the archive is verified.
The result is then written to the ledger, for which the archive is opened.
Exit codes: 0 all is well, 1 damage was found or the archive cannot be verified.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.verify(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.deep, "deep", false, "read every byte again")
	flags.StringVar(&f.checkpoint, "checkpoint", "", "compare with the checkpoint saved in this `file`")
	flags.StringVar(&f.save, "save-checkpoint", "", "if all is well, save the checkpoint that was verified in this `file`")
	flags.StringVar(&f.rate, "rate", "", "read at most this much a second, like 50MB")
	flags.Uint32Var(&f.volume, "volume", 0, "verify only the volume with this `number`")
	flags.BoolVar(&f.restart, "restart", false, "do not go on where a deep verification was interrupted")
	flags.BoolVar(&f.asJSON, "json", false, "every damage and the report as JSON, one object a line")
	return cmd
}

// maxCheckpointFile in bytes is that of a checkpoint with cosignatures.
const maxCheckpointFile = 64 << 10

func (a *app) verify(ctx context.Context, f verifyFlags) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	req := api.VerifyRequest{Deep: f.deep, Volume: f.volume, Restart: f.restart}
	if f.rate != "" {
		var rate config.Bytes
		if err := rate.UnmarshalText([]byte(f.rate)); err != nil {
			return usage(fmt.Errorf("--rate %w", err))
		}
		req.BytesPerSecond = int64(rate)
	}
	if f.checkpoint != "" {
		note, err := disk.ReadFile(disk.OS(), f.checkpoint, maxCheckpointFile)
		if err != nil {
			return usage(fmt.Errorf("--checkpoint: %w", err))
		}
		req.Checkpoints = map[string]string{f.checkpoint: string(note)}
	}
	out := a.newVerifyOutput(f.asJSON)
	report, err := a.verification(ctx, cfg, req, out)
	out.wait()
	if err != nil {
		return err
	}
	if err := out.report(report); err != nil {
		return err
	}
	if report.Damages > 0 {
		return &exitError{code: exitFailed}
	}
	if f.save == "" {
		return nil
	}
	return disk.WriteFile(disk.OS(), f.save, []byte(report.Checkpoint), disk.FilePerm)
}

// verification asks the running instance, or verifies the archive that nobody has open.
func (a *app) verification(ctx context.Context, cfg *config.Config, req api.VerifyRequest, out *verifyOutput) (archive.VerifyReport, error) {
	if ok, err := archive.Exists(cfg.DataDir); err != nil || !ok {
		if _, statErr := os.Stat(cfg.DataDir); statErr != nil {
			return archive.VerifyReport{}, errors.Join(fmt.Errorf("%s holds no archive", cfg.DataDir), err)
		}
	}
	deadline := time.NewTimer(connectPatience)
	defer deadline.Stop()
	again := time.NewTicker(connectAgain)
	defer again.Stop()
	for {
		client, silent := api.Dial(ctx, cfg.DataDir)
		if silent == nil {
			report, err := client.Verify(ctx, req, out.event)
			return report, errors.Join(err, client.Close())
		}
		report, err := a.verifyClosed(ctx, cfg, req, out)
		if !errors.Is(err, archive.ErrLocked) {
			return report, err
		}
		select {
		case <-again.C:
		case <-deadline.C:
			return report, locked(cfg, err, silent)
		case <-ctx.Done():
			return report, ctx.Err()
		}
	}
}

// verifyClosed verifies an archive that is not open, and then opens it to record the result.
func (a *app) verifyClosed(ctx context.Context, cfg *config.Config, req api.VerifyRequest, out *verifyOutput) (archive.VerifyReport, error) {
	log := a.logger(cfg, false)
	anchors, err := newAnchors(cfg, log)
	if err != nil {
		return archive.VerifyReport{}, usage(err)
	}
	o := archive.VerifyOptions{
		Deep: req.Deep, Volume: req.Volume, BytesPerSecond: req.BytesPerSecond, Restart: req.Restart,
		Damage:   func(d archive.Damage) { out.event(api.VerifyEvent{Damage: &d}) },
		Progress: func(p archive.VerifyProgress) { out.event(api.VerifyEvent{Progress: &p}) },
	}
	if req.Volume == 0 {
		o.Anchors = anchors.anchored()
	}
	for name, note := range req.Checkpoints {
		o.Checkpoints = append(o.Checkpoints, archive.SavedCheckpoint{Name: name, Note: []byte(note)})
	}
	_, identities, err := encryption(cfg)
	if err != nil {
		return archive.VerifyReport{}, err
	}
	report, err := archive.VerifyDir(ctx, cfg.DataDir, archive.Options{Identities: identities}, o)
	if err != nil {
		return report, err
	}
	i, err := openInstance(ctx, cfg, log, toRead, archive.ClaimOwn, func(err error) { log.Error("worker failed", "error", err) }, a.archive)
	if errors.Is(err, archive.ErrLocked) { // it has been opened since
		report.Notes = append(report.Notes, "the result is not in the ledger: another process has opened the archive")
		return report, nil
	}
	if err != nil {
		report.Notes = append(report.Notes, "the result is not in the ledger: "+err.Error())
		if report.Damages == 0 {
			return report, err
		}
		return report, nil
	}
	actor := "unknown"
	if u, err := user.Current(); err == nil {
		actor = u.Username
	}
	report, err = i.api.Verified(ctx, actor, report, o.Damage)
	return report, errors.Join(err, i.close())
}

// maxKeptDamages is how many damages are printed: they wait until the progress bar is gone.
const maxKeptDamages = 1000

// verifyOutput shows a verification on its way, and its result.
type verifyOutput struct {
	a       *app
	enc     *json.Encoder // nil for people
	err     error         // of enc
	began   time.Time
	damages []archive.Damage
	hit     map[string]bool // messages that are named
	more    int64           // that are not

	progress *mpb.Progress // nil without a terminal
	bar      *mpb.Bar
	last     archive.VerifyProgress
}

func (a *app) newVerifyOutput(asJSON bool) *verifyOutput {
	v := &verifyOutput{a: a, began: time.Now(), hit: map[string]bool{}}
	if asJSON {
		v.enc = json.NewEncoder(a.stdout)
		v.enc.SetEscapeHTML(false)
	}
	if width, ok := terminal(a.stderr); ok {
		v.progress = mpb.New(mpb.WithOutput(a.stderr), mpb.WithWidth(min(width, minWidth)))
	}
	return v
}

func (v *verifyOutput) event(e api.VerifyEvent) {
	switch {
	case e.Progress != nil:
		v.show(*e.Progress)
	case e.Damage == nil:
	case v.enc != nil:
		if v.err == nil {
			v.err = v.enc.Encode(e)
		}
	case len(v.damages) < maxKeptDamages:
		v.damages = append(v.damages, *e.Damage)
	}
	if e.Damage != nil && len(v.hit) < maxKeptDamages {
		for _, id := range e.Damage.Messages {
			v.hit[id] = true
		}
		v.more += e.Damage.More
	}
}

func (v *verifyOutput) show(p archive.VerifyProgress) {
	if v.progress == nil || p.Total == 0 {
		return
	}
	v.last = p
	if v.bar == nil {
		v.bar = v.progress.AddBar(p.Total, mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return v.what() })),
			mpb.AppendDecorators(decor.Percentage(), decor.AverageETA(decor.ET_STYLE_GO, decor.WC{W: 8})))
	}
	v.bar.SetTotal(p.Total, false)
	v.bar.SetCurrent(min(p.Done, p.Total))
}

// what is in front of the bar.
func (v *verifyOutput) what() string {
	what := v.last.Part
	if v.last.Volume != 0 {
		what = fmt.Sprintf("volume %d", v.last.Volume)
	}
	if v.last.Damages > 0 {
		what += fmt.Sprintf(", %d damaged", v.last.Damages)
	}
	return pad(what, 24) + " "
}

func (v *verifyOutput) wait() {
	if v.progress == nil {
		return
	}
	if v.bar != nil {
		v.bar.Abort(true)
	}
	v.progress.Wait()
}

// report prints the result.
func (v *verifyOutput) report(r archive.VerifyReport) error {
	if v.enc != nil {
		return errors.Join(v.err, v.enc.Encode(api.VerifyEvent{Report: &r}))
	}
	st := v.a.styleFor(v.a.stdout)
	for _, d := range v.damages {
		v.damage(st, d)
	}
	line := func(name, format string, args ...any) {
		v.a.paragraph(st.dim(pad(name, 10)), fmt.Sprintf(format, args...))
	}
	kind := "structure"
	if r.Deep {
		kind = "every byte"
	}
	line("verified", "%s, %s read in %s", kind, size(r.Bytes), time.Since(v.began).Round(time.Millisecond))
	if r.Volume == 0 {
		line("ledger", "%s events", count(r.Events))
	}
	if r.Deep {
		line("volumes", "%s, with %s messages", count(r.Volumes), count(r.Messages))
	} else {
		line("volumes", "%s", count(r.Volumes))
	}
	if r.Checkpoints > 0 {
		line("continues", "%s checkpoint(s) saved or anchored earlier", count(r.Checkpoints))
	}
	if r.Resumed {
		line("", "it went on where it had been interrupted; it began %s", r.Started.Local().Format(time.DateTime))
	}
	for _, note := range r.Notes {
		line("note", "%s", printable(note))
	}
	switch derived := r.Damages == r.Repairable; {
	case r.Damages == 0:
		line("result", "%s", st.green("all is well"))
	case derived:
		line("result", "%s", st.yellow(fmt.Sprintf("damage in %s place(s), all in derived files: nothing is lost", count(r.Damages))))
	default:
		line("result", "%s", st.red(fmt.Sprintf("DAMAGE in %s place(s), %s message(s) are hit", count(r.Damages), count(int64(len(v.hit))+v.more))))
	}
	return nil
}

func (v *verifyOutput) damage(st style, d archive.Damage) {
	where := d.File
	if d.Bytes > 0 {
		where += fmt.Sprintf(", bytes %s to %s", count(d.Offset), count(d.Offset+d.Bytes-1))
	}
	mark := st.red(pad("DAMAGE", 10))
	if d.Repairable {
		mark = st.yellow(pad("derived", 10))
	}
	v.a.paragraph(mark, printable(where))
	v.a.paragraph(pad("", 10), printable(d.What))
	if len(d.Messages) == 0 {
		return
	}
	names := "message"
	for _, id := range d.Messages {
		names += " " + id[:min(len(id), shownDigits)]
	}
	if d.More > 0 {
		names += fmt.Sprintf(" and %s more", count(d.More))
	}
	v.a.paragraph(pad("", 10), names)
}

// shownDigits of an id are enough to show the message.
const shownDigits = 16

// paragraph writes text in lines that fit, behind a name of ten columns.
func (a *app) paragraph(name, text string) {
	for i, line := range wrap(text, a.width()-11) {
		if i > 0 {
			name = pad("", 10)
		}
		fmt.Fprintf(a.stdout, "%s %s\n", name, line)
	}
}
