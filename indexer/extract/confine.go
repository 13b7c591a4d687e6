package extract

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
)

// ErrUnconfined means that the system does not confine processes that read
// attachments as it should, and that Options.Unconfined does not allow that.
var ErrUnconfined = errors.New("extract: the processes that read attachments cannot be confined")

// errUnneeded is given by means for which there is no need.
var errUnneeded = errors.New("not needed")

// means is one way of taking from a process what reading a file does not need.
type means struct {
	name      string
	essential bool // a process without it is unconfined
	use       func() error
}

// Confinement is what keeps a process that reads attachments from doing harm.
type Confinement struct {
	// Means names what the system has given, in words.
	Means []string `json:"means"`
	// Missing names what it lacks, with the reason.
	Missing []string `json:"missing,omitempty"`
	// Unconfined says what is missing that must not be, "" if nothing is. It is
	// always empty on systems for which there are no essential means.
	Unconfined string `json:"unconfined,omitempty"`
}

// String is a line for people.
func (c Confinement) String() string {
	var out string
	switch {
	case c.Unconfined != "":
		out = "NOT confined"
	case runtime.GOOS != "linux":
		out = "in processes of their own, which " + runtime.GOOS + " does not confine"
	default:
		out = "in confined processes"
	}
	if len(c.Means) > 0 {
		out += ": " + strings.Join(c.Means, ", ")
	}
	if len(c.Missing) > 0 {
		out += "; without " + strings.Join(c.Missing, ", ")
	}
	return out
}

// confine takes from this process what reading a file does not need.
func confine(memory int64) Confinement {
	runtime.LockOSThread() // some means are those of a thread until the last makes them those of all
	defer runtime.UnlockOSThread()
	var c Confinement
	for _, m := range append(limits(), platformMeans(memory)...) {
		err := m.use()
		if err == nil {
			c.Means = append(c.Means, m.name)
			continue
		}
		if errors.Is(err, errUnneeded) {
			continue
		}
		missing := fmt.Sprintf("%s (%v)", m.name, err)
		c.Missing = append(c.Missing, missing)
		if m.essential {
			c.Unconfined = strings.Join(append(nonEmpty(c.Unconfined), missing), ", ")
		}
	}
	return c
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
