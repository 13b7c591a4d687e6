package pop3

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
)

// stepCommands is how many commands InStep sends. A message that forges answers
// would have to guess the order of two kinds of them, 1 in 128, and the numbers.
const stepCommands = 8

// InStep makes sure that the answers still belong to the commands. A server that
// does not double the dots of a message lets the message end early, and what
// is behind that is read as the answers to the next commands. So NOOP and STAT
// are sent one by one in a random order: STAT is answered with two numbers,
// always the same, and NOOP is not. An error has ended the session.
func (c *Conn) InStep(ctx context.Context) error {
	order := make([]string, stepCommands)
	for i := range order {
		order[i] = [...]string{"NOOP", "STAT"}[rand.IntN(2)]
	}
	order[0] = "STAT" // to compare with
	return c.run(ctx, "STAT", func() error {
		counts := ""
		for _, command := range order {
			s, err := c.simple(command)
			if err != nil {
				return err
			}
			words := strings.Fields(s.text)
			numbers := len(words) >= 2 && digits(words[0]) && digits(words[1])
			text := ""
			if numbers {
				text = words[0] + " " + words[1]
			}
			switch {
			case command == "STAT" && s.ok && numbers && (counts == "" || counts == text):
				counts = text
				continue
			case command == "NOOP" && text != counts:
				continue
			}
			return c.fail(command, protocolError(fmt.Sprintf("the answers do not fit the commands any more: %q", c.words(s.original))))
		}
		return nil
	})
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
