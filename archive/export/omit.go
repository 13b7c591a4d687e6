package export

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// keyBytes is how much of a hash recognises a duplicate or a message-id: in an
// export of a hundred million messages a chance collision is unlikely.
const keyBytes = 12

func key(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:keyBytes])
}

// omit decides whether a message is left out, notes the reason in its entry, and
// the keys by which later ones are compared with it. Seen holds the keys so far;
// it is all that grows with the number of messages, by some hundred bytes each.
func (o *making) omit(it *item, seen map[string]bool) bool {
	c, e := it.content, it.entry
	if o.OnePerThread {
		ids := append(append([]string{c.MessageID}, c.InReplyTo...), c.References...)
		for _, id := range ids {
			if id == "" {
				continue
			}
			k := key("thread", id)
			if seen[k] {
				e.Omitted = omittedThread
			}
			e.Keys = append(e.Keys, k)
		}
	}
	if o.Deduplicate && e.Omitted == "" {
		k := key(c.same()...)
		if seen[k] {
			e.Omitted = omittedDuplicate
		} else {
			e.Keys = append(e.Keys, k)
		}
	}
	return e.Omitted != ""
}

// same is what two copies of a message have in common, whatever servers they
// came through: what the sender wrote.
func (c *Content) same() []string {
	parts := []string{
		"copy", c.MessageID, c.Date.UTC().String(), c.Subject, c.Text,
		strings.Join(c.From, "\n"), strings.Join(c.To, "\n"), strings.Join(c.Cc, "\n"),
	}
	for _, a := range c.Attachments {
		parts = append(parts, a.Name, a.MediaType, strconv.FormatInt(a.Size, 10), a.Text)
	}
	return parts
}
