package pop3

import (
	"slices"
	"strings"
)

// Capabilities are the capabilities of a server (RFC 2449) with their
// arguments, by upper-case name. nil if the server does not know CAPA.
type Capabilities map[string][]string

// Has reports whether the capability is offered.
func (c Capabilities) Has(name string) bool {
	_, ok := c[strings.ToUpper(name)]
	return ok
}

// HasSASL reports whether the SASL mechanism is offered (RFC 5034).
func (c Capabilities) HasSASL(mechanism string) bool {
	return slices.ContainsFunc(c["SASL"], func(offered string) bool {
		return strings.EqualFold(offered, mechanism)
	})
}

// readCapabilities asks for the capabilities. A refusal is no error and
// leaves them as they were: CAPA is an extension, and everything that it would
// announce can be tried.
func (c *Conn) readCapabilities() error {
	caps := Capabilities{}
	err := c.listing("CAPA", maxCapabilities, func(line []byte) error {
		if words := strings.Fields(string(line)); len(words) > 0 {
			caps[strings.ToUpper(words[0])] = words[1:]
		}
		return nil
	})
	if c.broken != nil {
		return err
	}
	if err == nil {
		c.caps = caps
	}
	return nil
}
