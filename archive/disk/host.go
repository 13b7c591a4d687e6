package disk

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
)

// A Host is the machine that the process runs on, as far as it can be told.
type Host struct {
	Name string
	// Machine is a hash of the machine's id, "" where it has none that is sure to stay: a container may get another
	// one at every start.
	Machine string
	// Boot names the time since the machine was started, "" if unknown.
	Boot string
}

// ThisHost says where the process runs.
func ThisHost() Host {
	h := Host{Machine: machine()}
	h.Name, _ = os.Hostname() // for people
	if boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		h.Boot = strings.TrimSpace(string(boot))
	}
	return h
}

// machine relies on /etc/machine-id where systemd has started the system, which keeps it there. The id itself is not
// to be shown to others (machine-id(5)).
func machine() string {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return ""
	}
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil || len(strings.TrimSpace(string(id))) != 32 {
		return ""
	}
	sum := sha256.Sum256([]byte("postkeep place\n" + strings.TrimSpace(string(id))))
	return hex.EncodeToString(sum[:])
}
