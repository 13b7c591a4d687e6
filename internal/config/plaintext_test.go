package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a proxy calls localhost is not this machine: the password would be read on the way.
func TestLoopbackBehindAProxyIsNotLoopback(t *testing.T) {
	for proxy, allowed := range map[string]bool{"": true, "proxy: socks5://gate.example:1080": false, "proxy: http://127.0.0.1:3128": false} {
		file := filepath.Join(t.TempDir(), "c.yaml")
		text := "data_dir: data\nmailboxes:\n  - name: a\n    host: 127.0.0.1\n    username: u\n    password_env: P\n    tls: none\n"
		if proxy != "" {
			text += "    " + proxy + "\n"
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(file)
		if allowed != (err == nil) || err != nil && !strings.Contains(err.Error(), "in the clear") {
			t.Errorf("%q: %v", proxy, err)
		}
	}
}
