package pop3

import (
	"slices"
	"strconv"
	"strings"
	"time"
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

// LoginDelay returns the time that must pass between two logins (LOGIN-DELAY);
// 0 is none. Before login it may be the longest that any user has.
func (c Capabilities) LoginDelay() time.Duration {
	delay, _ := c.number("LOGIN-DELAY", time.Second)
	return delay
}

// Expire returns how long the server keeps messages (EXPIRE), counted in days;
// ok is false if it keeps them for ever or does not say. 0 means that messages
// may not be left on the server: it may delete them after RETR.
func (c Capabilities) Expire() (after time.Duration, ok bool) { return c.number("EXPIRE", day) }

const day = 24 * time.Hour

// number reads the first argument of a capability; the second, "USER", only
// says that the value differs between users (RFC 2449, sections 6.5 and 6.7).
func (c Capabilities) number(name string, unit time.Duration) (time.Duration, bool) {
	args := c[name]
	if len(args) == 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(args[0], 10, 16) // 65535 days are 179 years
	if err != nil {
		return 0, false
	}
	return time.Duration(n) * unit, true
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
