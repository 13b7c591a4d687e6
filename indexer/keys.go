package indexer

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/postkeep/postkeep/indexer/words"
	"github.com/postkeep/postkeep/internal/mailparse"
)

// key is a short name for text of any length that senders choose: 72 bits of
// its SHA-256 are too many to find two texts with the same one.
func key(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// messageIDKey is the key of a Message-ID, "" for none.
func messageIDKey(id string) string {
	if id = words.Fold(strings.TrimSpace(id)); id == "" {
		return ""
	}
	return key("msgid:" + id)
}

// threadKeys are the keys of the messages that a message belongs to, its own
// first: messages with a key in common are of one thread (RFC 5322 section
// 3.6.4). Of the References the first and the last are enough to tie it to
// the others, which have theirs. A message that has no such key has one of its own; id
// is that of the message in the archive.
func threadKeys(m *mailparse.Message, id string) []string {
	keys := []string{messageIDKey(m.MessageID), conversationKey(m)}
	if n := len(m.References); n > 0 {
		keys = append(keys, messageIDKey(m.References[0]), messageIDKey(m.References[n-1]))
	}
	if len(m.InReplyTo) > 0 {
		keys = append(keys, messageIDKey(m.InReplyTo[0]))
	}
	if strings.Join(keys, "") == "" {
		keys = append(keys, key("id:"+id))
	}
	return keys
}

// conversationKey is the key of what Outlook calls the conversation, "" for none.
func conversationKey(m *mailparse.Message) string {
	if m.ThreadIndex == "" {
		return ""
	}
	return key("conversation:" + m.ThreadIndex)
}

// threadRoot is the key that groups the messages of a thread in which every
// message names the first one: that of the first message, as far as m knows it,
// or of m itself.
func threadRoot(m *mailparse.Message, id string) string {
	var first string
	switch {
	case len(m.References) > 0:
		first = messageIDKey(m.References[0])
	case len(m.InReplyTo) > 0:
		first = messageIDKey(m.InReplyTo[0])
	}
	for _, k := range []string{first, conversationKey(m), messageIDKey(m.MessageID)} {
		if k != "" {
			return k
		}
	}
	return key("id:" + id)
}

// reportedKey is the same for all journal reports of one message, and "" for
// what is no report.
func reportedKey(m *mailparse.Message) string {
	if m.Journal == nil || m.Journal.Key == "" {
		return ""
	}
	return key("report:" + m.Journal.Key)
}

// senderKey is what lists are sorted by: the name, else the address.
func senderKey(m *mailparse.Message) string {
	for _, a := range m.From {
		for _, s := range []string{a.Name, a.Addr} {
			if s = words.Fold(strings.Trim(s, " \t\"'")); s != "" {
				return strings.ToValidUTF8(s[:min(len(s), words.MaxTermBytes)], "")
			}
		}
	}
	return ""
}

// senderDomains are the domains of the From addresses.
func senderDomains(m *mailparse.Message) []string {
	var domains []string
	for _, a := range m.From {
		if at := strings.LastIndexByte(a.Addr, '@'); at >= 0 && len(a.Addr)-at-1 <= maxDomain {
			domains = append(domains, words.Fold(strings.TrimSpace(a.Addr[at+1:])))
		}
	}
	return domains
}
