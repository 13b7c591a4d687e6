package document

import (
	"errors"

	"github.com/postkeep/postkeep/internal/mailparse"
)

var errObjects = errors.New("embedded objects, not read")

// rtf reads Rich Text Format, also HTML that is wrapped into it.
func (r *reader) rtf(data []byte) error {
	rtf := mailparse.ReadRTF(data, r.limits.TextBytes+1)
	if rtf.IsHTML {
		r.html([]byte(rtf.Text), "utf-8")
	} else {
		r.text(rtf.Text)
	}
	r.newline()
	switch {
	case rtf.IsCut && !r.full:
		return errText
	case rtf.IsTorn:
		return errDamaged
	case rtf.HasObjects:
		return errObjects
	}
	return nil
}
