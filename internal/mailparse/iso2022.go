package mailparse

import (
	"bytes"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// iso2022Set is one of the character sets that ISO 2022 text switches between.
type iso2022Set int

const (
	setASCII iso2022Set = iota
	setJIS0208
	setJIS0212
	setKatakana
	setGB2312
	setKSC5601
)

// encoding returns the 8-bit form of the set.
func (s iso2022Set) encoding() encoding.Encoding {
	switch s {
	case setGB2312:
		return simplifiedchinese.GBK
	case setKSC5601:
		return korean.EUCKR
	case setASCII:
		return japanese.ShiftJIS // for the octets above 127 that should not be there
	}
	return japanese.EUCJP
}

// iso2022Escapes are the sequences of ISO-2022-JP (RFC 1468, RFC 1554), -KR (RFC
// 1557) and -CN (RFC 1922) behind the escape character. "(" stands for a set that is
// used at once, ")" for one that SO switches to.
func iso2022Escape(b []byte) (set iso2022Set, shifted bool, length int) {
	for _, e := range [...]struct {
		sequence string
		set      iso2022Set
		shifted  bool
	}{
		{"(B", setASCII, false}, {"(J", setASCII, false}, {"(H", setASCII, false}, {"(I", setKatakana, false},
		{"$@", setJIS0208, false}, {"$B", setJIS0208, false}, {"$(@", setJIS0208, false}, {"$(B", setJIS0208, false},
		{"$(D", setJIS0212, false}, {"$A", setGB2312, false}, {"$(A", setGB2312, false}, {"$(C", setKSC5601, false},
		{"$)C", setKSC5601, true}, {"$)A", setGB2312, true},
		{"&@", setASCII, false}, // announces a revision of JIS X 0208
	} {
		if bytes.HasPrefix(b, []byte(e.sequence)) {
			return e.set, e.shifted, len(e.sequence)
		}
	}
	return setASCII, false, 0
}

// decodeISO2022 decodes all of ISO-2022-JP, -KR and -CN. Stray escapes are dropped,
// and a set ends with its line, as the RFCs want it to: mailers cut text anywhere.
func decodeISO2022(b []byte) string {
	const escape, shiftOut, shiftIn = 0x1b, 0x0e, 0x0f
	var out strings.Builder
	var run []byte
	set, shifted := setASCII, setKSC5601
	change := func(to iso2022Set) {
		text, err := set.encoding().NewDecoder().Bytes(run)
		if err != nil {
			text = bytes.ToValidUTF8(run, []byte("\uFFFD"))
		}
		out.Write(text)
		run, set = run[:0], to
	}
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case c == escape:
			to, later, length := iso2022Escape(b[i+1:])
			i += length
			switch {
			case later:
				shifted = to
			case length > 0:
				change(to)
			}
		case c == shiftOut:
			change(shifted)
		case c == shiftIn || c == '\n' || c == '\r':
			change(setASCII)
			if c != shiftIn {
				run = append(run, c)
			}
		case set == setASCII || c <= ' ':
			run = append(run, c)
		case set == setKatakana:
			run = append(run, 0x8e, c|0x80)
		case set == setJIS0212 && i+1 < len(b):
			run = append(run, 0x8f, c|0x80, b[i+1]|0x80)
			i++
		default:
			run = append(run, c|0x80)
		}
	}
	change(setASCII)
	return out.String()
}
