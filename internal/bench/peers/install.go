package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// packages are the peers and what the cases need, as Debian calls them.
func packages() []string {
	return []string{"dovecot-pop3d", "mpop", "fetchmail", "getmail6", "notmuch", "maildir-utils", "zstd"}
}

// install installs what is missing, if it may.
func install(ctx context.Context) error {
	var missing []string
	for _, name := range packages() {
		out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${db:Status-Status}", name).Output()
		if err != nil || string(out) != "installed" {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	line := "apt-get install -y --no-install-recommends " + strings.Join(missing, " ")
	if os.Geteuid() != 0 {
		return fmt.Errorf("missing are %s: as root, %s", strings.Join(missing, ", "), line)
	}
	apt := func(args ...string) error {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		return cmd.Run()
	}
	if err := errors.Join(apt("update"), apt(strings.Fields(line)[1:]...)); err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	return nil
}
