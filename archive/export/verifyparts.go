package export

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/postkeep/postkeep/archive/ledger"
)

// maxProofLine bounds a line: leaf and details have at most 1 MiB each, escaped twice as much.
const maxProofLine = 8 << 20

// A proofReader reads proof.json. Every line has to be, byte for byte, as prove
// writes it, so that no changed byte goes unnoticed.
type proofReader struct {
	r        *bufio.Reader
	key      string
	verifier *ledger.ProofVerifier
	first    bool // the next line is that of the first event
}

func newProofReader(r io.Reader) (*proofReader, error) {
	p := &proofReader{r: bufio.NewReaderSize(r, writeBuffer), first: true}
	line, err := p.line()
	if err != nil {
		return nil, err
	}
	var h ledger.Proof
	text, ok := strings.CutSuffix(string(line), `,"events":[`+"\n")
	if !ok || json.Unmarshal([]byte(text+"}"), &h) != nil {
		return nil, errors.New("it does not begin as a proof does")
	}
	if h.Format != ledger.ProofFormat {
		return nil, fmt.Errorf("its form is %.100q, this version reads %q", h.Format, ledger.ProofFormat)
	}
	if want, err := proofHead(h.Key, h.Checkpoint); err != nil || string(want) != string(line) {
		return nil, errors.New("its first line was changed")
	}
	if err := canonical(h.Key, h.Checkpoint); err != nil {
		return nil, err
	}
	p.key = h.Key
	p.verifier, err = ledger.NewProofVerifier(h.Key, h.Checkpoint)
	return p, err
}

// canonical makes sure that key and checkpoint are written in the one way in
// which they are made: base64 and hexadecimal have others that mean the same.
func canonical(key, checkpoint string) error {
	v, err := note.NewVerifier(key)
	if err != nil {
		return fmt.Errorf("public key: %w", err)
	}
	encoded, ok := strings.CutPrefix(key, fmt.Sprintf("%s+%08x+", v.Name(), v.KeyHash()))
	if _, err := base64.StdEncoding.Strict().DecodeString(encoded); !ok || err != nil {
		return errors.New("the public key was changed")
	}
	_, signatures, ok := strings.Cut(checkpoint, "\n\n")
	signature, ok2 := strings.CutPrefix(signatures, "— "+v.Name()+" ")
	signature, ok3 := strings.CutSuffix(signature, "\n")
	if _, err := base64.StdEncoding.Strict().DecodeString(signature); !ok || !ok2 || !ok3 || err != nil || strings.ContainsAny(signature, "\r\n") {
		return errors.New("the signature of the checkpoint was changed")
	}
	return nil
}

func (p *proofReader) line() ([]byte, error) {
	var line []byte
	for {
		part, err := p.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, io.EOF):
			return nil, errors.New("it ends too early")
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > maxProofLine:
			return nil, fmt.Errorf("a line is longer than %d bytes", maxProofLine)
		}
	}
}

// next returns the next event, which the checkpoint covers.
func (p *proofReader) next() (ledger.Entry, error) {
	line, err := p.line()
	if err != nil {
		return ledger.Entry{}, err
	}
	var e ledger.EventProof
	if err := json.Unmarshal([]byte(strings.TrimPrefix(string(line), ",")), &e); err != nil {
		return ledger.Entry{}, fmt.Errorf("malformed line: %.40q", line)
	}
	want, err := proofLine(e, p.first)
	if salt, herr := hex.DecodeString(e.Salt); err != nil || herr != nil || hex.EncodeToString(salt) != e.Salt || string(want) != string(line) {
		return ledger.Entry{}, fmt.Errorf("the line of event %d was changed", e.Index)
	}
	p.first = false
	return p.verifier.Event(e)
}

// end makes sure that there is nothing more.
func (p *proofReader) end() error {
	line, err := p.line()
	if err != nil {
		return err
	}
	if _, err := p.r.ReadByte(); string(line) != manifestTail || !errors.Is(err, io.EOF) {
		return errors.New("it proves more than the manifest lists")
	}
	return nil
}

// A pieceReader reads an mbox message by message.
type pieceReader struct {
	name string
	f    io.ReadCloser
	*tally
}

// piece reads the next message of an mbox and compares it with its id.
func (v *verification) piece(e *Entry) error {
	p := e.Piece
	if v.mbox == nil || v.mbox.name != p.Path {
		f, err := v.tree.open(p.Path)
		if errors.Is(err, fs.ErrNotExist) {
			return Problem{p.Path, "it is missing"}
		}
		if err != nil {
			return err
		}
		v.mbox = &pieceReader{p.Path, f, newTally(io.Discard)}
	}
	m := v.mbox
	if p.Offset != m.size || p.Length < 0 {
		return Problem{manifestName, fmt.Sprintf("message %s is not behind the one before it in %s", e.ID, p.Path)}
	}
	content := newTally(io.Discard)
	var w io.Writer = content
	keep := &allBut{w: w, n: 1} // the empty line behind the message
	if p.AddedNewline {
		keep.n = 2
	}
	unquoted := newFromRewriter(keep, unquote)
	body := &skipLine{w: unquoted}
	_, err := io.CopyN(io.MultiWriter(m.tally, body), contextReader{v.ctx, m.f}, p.Length)
	if err == nil {
		err = unquoted.finish()
	}
	if err != nil && !errors.Is(err, io.EOF) && !damaged(err) {
		return err
	}
	if hex.EncodeToString(content.hash.Sum(nil)) != e.ID || content.size != e.Size || err != nil {
		v.problem(p.Path, "message %s at byte %d is not what was archived", e.ID, p.Offset)
	}
	return nil
}

// shared checks a file that is shared by messages, from where its last piece ends.
func (v *verification) shared(f File) error {
	if v.mbox == nil || v.mbox.name != f.Path {
		return v.file(f)
	}
	m := v.mbox
	v.mbox = nil
	_, err := io.Copy(m.tally, contextReader{v.ctx, m.f})
	if err = errors.Join(err, m.f.Close()); err != nil && !damaged(err) {
		return err
	}
	v.same(f, m.tally)
	return nil
}

// skipLine leaves out the first line.
type skipLine struct {
	w    io.Writer
	over bool
}

func (s *skipLine) Write(p []byte) (int, error) {
	n := len(p)
	if !s.over {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return n, nil
		}
		p, s.over = p[i+1:], true
	}
	_, err := s.w.Write(p)
	return n, err
}

// allBut leaves out the last n bytes, which are held back.
type allBut struct {
	w    io.Writer
	n    int
	held []byte
}

func (a *allBut) Write(p []byte) (int, error) {
	a.held = append(a.held, p...)
	if len(a.held) > a.n {
		out := a.held[:len(a.held)-a.n]
		if _, err := a.w.Write(out); err != nil {
			return 0, err
		}
		a.held = append(a.held[:0], a.held[len(out):]...)
	}
	return len(p), nil
}
