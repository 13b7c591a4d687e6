package config

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func settingsOf(t *testing.T, yaml string) map[string]string {
	t.Helper()
	c, err := parse("postkeep.yaml", "/etc", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	return c.Settings()
}

const oneMailbox = "mailboxes:\n  - { name: sales.eu, host: pop.example.com, username: u, password_file: /run/p"

func TestSettingsSayWhatWasChanged(t *testing.T) {
	base := "nats: { url: \"nats://a:4222\" }\n" + oneMailbox + " }\n"
	before := settingsOf(t, base)
	for name, c := range map[string]struct {
		yaml string
		want map[string]string
	}{
		"of the instance": {"poller: { sessions: 3 }\n" + base, map[string]string{"poller.sessions": "3"}},
		"of a mailbox":    {strings.Replace(base, "/run/p", "/run/p, delete: never", 1), map[string]string{"mailboxes[sales.eu].delete": "never"}},
		"of all mailboxes": {"defaults: { delete: { after: 48h } }\n" + base, map[string]string{
			"defaults.delete": "after 48h0m0s",
		}},
		"of a mailbox, as it is for all": {strings.Replace(base, "/run/p", "/run/p, delete: after_archive", 1), map[string]string{}},
		"a pin": {strings.Replace(base, "/run/p", "/run/p, tls_pin: "+strings.Repeat("ab", 32), 1), map[string]string{
			"mailboxes[sales.eu].tls_pin": strings.Repeat("ab", 32),
		}},
		"lists": {"archive: { encryption: { recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p] } }\n" + base, map[string]string{
			"archive.encryption.recipients.1": "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
		}},
		"dual control": {"dual_control: true\n" + base, map[string]string{"dual_control": "true"}},
	} {
		after := settingsOf(t, c.yaml)
		changed := map[string]string{}
		for _, key := range slices.Sorted(maps.Keys(after)) {
			if before[key] != after[key] {
				changed[key] = after[key]
			}
		}
		if !maps.Equal(changed, c.want) {
			t.Errorf("%s: %v, want %v", name, changed, c.want)
		}
	}
}

func TestSettingsHoldNoSecrets(t *testing.T) {
	got := settingsOf(t, "anchors:\n  - { url: \"https://a.example.com/x?key=hunter4#hunter5\" }\n"+oneMailbox+" }\n")
	for key, value := range got {
		if strings.Contains(value, "hunter") {
			t.Errorf("%s is %s", key, value)
		}
	}
	if got["anchors.1.url"] != "https://a.example.com/x" {
		t.Errorf("%q", got["anchors.1.url"])
	}
}

func TestMailboxOfAKey(t *testing.T) {
	for key, want := range map[string]string{
		"mailboxes[sales.eu].oauth2.tenant": "sales.eu", "poller.sessions": "", "mailboxes[x": "", "anchors.1.url": "",
	} {
		if got := MailboxOf(key); got != want {
			t.Errorf("%s is about %q, want %q", key, got, want)
		}
	}
}
