package mailparse

import "encoding/binary"

// rtfDictionary is what the window of compressed RTF begins with ([MS-OXRTFCP]
// section 2.1.2.1).
const rtfDictionary = "{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"

// decompressRTF undoes the compression of PidTagRtfCompressed ([MS-OXRTFCP]) up
// to limit octets. It is nil if b is nothing of the kind.
func decompressRTF(b []byte, limit int) []byte {
	if len(b) < 16 {
		return nil
	}
	kind := string(b[8:12])
	size := min(int(binary.LittleEndian.Uint32(b[4:])), limit)
	b = b[16:]
	if kind == "MELA" { // not compressed
		return b[:min(len(b), size)]
	}
	if kind != "LZFu" {
		return nil
	}
	var window [4096]byte
	at := copy(window[:], rtfDictionary)
	var out []byte
	put := func(c byte) {
		out = append(out, c)
		window[at] = c
		at = (at + 1) % len(window)
	}
	for len(b) > 0 && len(out) < size {
		control := b[0]
		b = b[1:]
		for bit := 0; bit < 8 && len(out) < size; bit++ {
			if control>>bit&1 == 0 {
				if len(b) == 0 {
					return out
				}
				put(b[0])
				b = b[1:]
				continue
			}
			if len(b) < 2 {
				return out
			}
			reference := int(b[0])<<8 | int(b[1])
			b = b[2:]
			from := reference >> 4
			if from == at {
				return out
			}
			for range reference&15 + 2 {
				put(window[from])
				from = (from + 1) % len(window)
			}
		}
	}
	return out
}
