package mailparse

import (
	"strings"
	"unicode/utf16"
)

// Charsets that golang.org/x/text does not have.

// decodeUTF7 decodes UTF-7 (RFC 2152): "+" begins UTF-16 in base64 without
// padding, anything outside base64 ends it, "-" being swallowed.
func decodeUTF7(b []byte) string {
	var out strings.Builder
	for len(b) > 0 {
		c := b[0]
		b = b[1:]
		if c != '+' {
			out.WriteRune(rune(c)) // an octet above 127 is taken as ISO 8859-1
			continue
		}
		if len(b) > 0 && b[0] == '-' {
			out.WriteByte('+')
			b = b[1:]
			continue
		}
		n := 0
		for n < len(b) && b[n] != '-' && b[n] != '_' && base64Value(b[n]) >= 0 {
			n++
		}
		writeUTF7(&out, b[:n])
		b = b[n:]
		if len(b) > 0 && b[0] == '-' {
			b = b[1:]
		}
	}
	return out.String()
}

func writeUTF7(out *strings.Builder, b []byte) {
	d := base64Decoder{}
	octets := d.flush(d.decode(nil, b))
	units := make([]uint16, len(octets)/2)
	for i := range units {
		units[i] = uint16(octets[2*i])<<8 | uint16(octets[2*i+1])
	}
	for _, r := range utf16.Decode(units) {
		out.WriteRune(r)
	}
}

// visciiHigh are the octets 0x80 to 0xff of VISCII (RFC 1456).
const visciiHigh = "ẠẮẰẶẤẦẨẬẼẸẾỀỂỄỆỐỒỔỖỘỢỚỜỞỊỎỌỈỦŨỤỲÕắằặấầẩậẽẹếềểễệốồổỗỠƠộờởịỰỨỪỬơớƯÀÁÂÃẢĂẳẵÈÉÊẺÌÍĨỳĐứÒÓÔạỷừửÙÚỹỵÝỡưàáâãảăữẫèéêẻìíĩỉđựòóôõỏọụùúũủýợỮ"

// decodeVISCII decodes VISCII, which uses six control characters for letters too.
func decodeVISCII(b []byte) string {
	high := []rune(visciiHigh)
	var out strings.Builder
	for _, c := range b {
		switch {
		case c >= 0x80:
			out.WriteRune(high[c-0x80])
		case c == 0x02:
			out.WriteRune('Ẳ')
		case c == 0x05:
			out.WriteRune('Ẵ')
		case c == 0x06:
			out.WriteRune('Ẫ')
		case c == 0x14:
			out.WriteRune('Ỷ')
		case c == 0x19:
			out.WriteRune('Ỹ')
		case c == 0x1e:
			out.WriteRune('Ỵ')
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}
