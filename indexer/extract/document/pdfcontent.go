package document

import (
	"math"
	"slices"

	"github.com/ledongthuc/pdf"
)

// pdfState is the graphics state as far as text goes (ISO 32000-1 sections 8.4
// and 9.3).
type pdfState struct {
	ctm               matrix
	font              *pdfFont
	size, leading     float64
	charSpace, spaced float64
	stretch           float64
}

// pdfRun runs one content stream.
type pdfRun struct {
	*pdfReader
	resources pdf.Value
	depth     int
	state     pdfState
	saved     []pdfState
	tm, tlm   matrix
	end       *[2]float64 // where the last text ended, on the page
	args      []pdfToken
}

const (
	// maxArgs is the number of operands that an operator may have.
	maxArgs = 64
	// maxSaved is the depth of q; ISO 32000-1 annex C has 28.
	maxSaved = 1000
)

// run shows the text of content.
func (p *pdfReader) run(data []byte, resources pdf.Value, ctm matrix, depth int) {
	c := &pdfRun{pdfReader: p, resources: resources, depth: depth, state: pdfState{ctm: ctm, stretch: 1}, tm: identity, tlm: identity}
	lex := pdfLexer{data: data}
	for !p.full {
		token, ok := lex.next()
		if !ok {
			return
		}
		if token.kind != pdfOperator {
			if len(c.args) < maxArgs {
				c.args = append(c.args, token)
			}
			continue
		}
		if token.text == "ID" {
			lex.skipImage()
		} else {
			c.operator(token.text)
		}
		c.args = c.args[:0]
	}
}

// number returns operand i of n, counted so that surplus ones in front do not matter.
func (c *pdfRun) number(i, n int) float64 {
	if at := len(c.args) - n + i; at >= 0 && at < len(c.args) {
		return c.args[at].number
	}
	return 0
}

func (c *pdfRun) last() pdfToken {
	if len(c.args) == 0 {
		return pdfToken{}
	}
	return c.args[len(c.args)-1]
}

func (c *pdfRun) operator(op string) {
	s := &c.state
	switch op {
	case "q":
		if len(c.saved) < maxSaved {
			c.saved = append(c.saved, *s)
		}
	case "Q":
		if n := len(c.saved); n > 0 {
			*s, c.saved = c.saved[n-1], c.saved[:n-1]
		}
	case "cm":
		s.ctm = c.matrix().mul(s.ctm)
	case "BT":
		c.tm, c.tlm = identity, identity
	case "Tc":
		s.charSpace = c.number(0, 1)
	case "Tw":
		s.spaced = c.number(0, 1)
	case "Tz":
		s.stretch = c.number(0, 1) / 100
	case "TL":
		s.leading = c.number(0, 1)
	case "Tf":
		s.size = c.number(1, 2)
		if len(c.args) >= 2 {
			s.font = c.pdfReader.font(c.resources.Key("Font").Key(c.args[len(c.args)-2].text))
		}
	case "Do":
		c.form(c.resources.Key("XObject").Key(c.last().text))
	default:
		c.textOperator(op)
	}
}

// textOperator moves and shows (ISO 32000-1 sections 9.4.2 and 9.4.3).
func (c *pdfRun) textOperator(op string) {
	s := &c.state
	switch op {
	case "Td":
		c.move(c.number(0, 2), c.number(1, 2))
	case "TD":
		s.leading = -c.number(1, 2)
		c.move(c.number(0, 2), c.number(1, 2))
	case "Tm":
		c.tlm = c.matrix()
		c.tm = c.tlm
	case "T*":
		c.move(0, -s.leading)
	case "Tj":
		c.show(c.last().text)
	case "'":
		c.move(0, -s.leading)
		c.show(c.last().text)
	case `"`:
		s.spaced, s.charSpace = c.number(0, 3), c.number(1, 3)
		c.move(0, -s.leading)
		c.show(c.last().text)
	case "TJ":
		for _, item := range c.last().items {
			if item.kind == pdfString {
				c.show(item.text)
			} else {
				c.advance(-item.number / 1000 * s.size * s.stretch)
			}
		}
	}
}

func (c *pdfRun) matrix() matrix {
	var m matrix
	for i := range m {
		m[i] = c.number(i, len(m))
	}
	return m
}

func (c *pdfRun) move(x, y float64) {
	c.tlm = matrix{1, 0, 0, 1, x, y}.mul(c.tlm)
	c.tm = c.tlm
}

// advance moves to the right, in text space.
func (c *pdfRun) advance(x float64) { c.tm = matrix{1, 0, 0, 1, x, 0}.mul(c.tm) }

// show writes a string of glyphs.
func (c *pdfRun) show(codes string) {
	s := &c.state
	if s.font == nil || codes == "" {
		return
	}
	text, width := s.font.decode(codes)
	glyphs := len(codes) / s.font.codeBytes
	spaces := 0
	if s.font.codeBytes == 1 {
		for i := range len(codes) {
			if codes[i] == ' ' {
				spaces++
			}
		}
	}
	c.shown = true
	if s.font.unmapped {
		c.unmapped = true
	}
	c.place(c.end, c.tm.mul(s.ctm), math.Abs(s.size))
	c.text(text)
	c.advance((width*s.size + float64(glyphs)*s.charSpace + float64(spaces)*s.spaced) * s.stretch)
	m := c.tm.mul(s.ctm)
	c.end = &[2]float64{m[4], m[5]}
}

// form runs the content of a form XObject.
func (c *pdfRun) form(x pdf.Value) {
	if x.Key("Subtype").Name() != "Form" || c.depth >= maxFormDepth || c.forms >= maxForms {
		return
	}
	key := x.String()
	if slices.Contains(c.path, key) {
		return // it shows itself
	}
	c.path = append(c.path, key)
	defer func() { c.path = c.path[:len(c.path)-1] }()
	c.forms++
	data, err := c.content(x)
	c.note("", err)
	m := identity
	if v := x.Key("Matrix"); v.Len() == len(m) {
		for i := range m {
			m[i] = v.Index(i).Float64()
		}
	}
	resources := x.Key("Resources")
	if resources.Kind() != pdf.Dict {
		resources = c.resources
	}
	c.run(data, resources, m.mul(c.state.ctm), c.depth+1)
	c.newline()
}
