// Package deployments_test keeps the example deployments and the program in step.
package deployments_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/postkeep/postkeep/internal/config"
)

func load(t *testing.T, file string) *config.Config {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the examples have the file names of Linux")
	}
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatalf("%s:\n%v", file, err)
	}
	return cfg
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestEveryExampleConfigurationIsValidAndPolls(t *testing.T) {
	found := 0
	err := filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "postkeep.yaml" {
			found++
			if cfg := load(t, file); len(cfg.Mailboxes) == 0 {
				t.Errorf("%s has no mailbox", file)
			}
		}
		return err
	})
	if err != nil || found < 3 {
		t.Errorf("%d examples found, %v", found, err)
	}
}

// settings returns the values of a key in a unit file or of an instruction in
// a Containerfile.
func settings(text, key, separator string) []string {
	var values []string
	for _, m := range regexp.MustCompile(`(?m)^`+key+separator+`(.*)$`).FindAllStringSubmatch(text, -1) {
		values = append(values, m[1])
	}
	return values
}

func TestSystemdUnitGivesWhatItsConfigurationUses(t *testing.T) {
	cfg := load(t, "systemd/postkeep.yaml")
	unit := read(t, "systemd/postkeep.service")
	if got := settings(unit, "StateDirectory", "="); len(got) != 1 || cfg.DataDir != "/var/lib/"+got[0] {
		t.Errorf("data_dir is %s, StateDirectory= %q", cfg.DataDir, got)
	}
	if got := settings(unit, "ExecStart", "="); len(got) != 1 || !strings.HasSuffix(got[0], "/postkeep run -c /etc/postkeep/postkeep.yaml") {
		t.Errorf("ExecStart= %q", got)
	}
	var credentials []string
	for _, value := range settings(unit, "LoadCredential", "=") {
		name, _, _ := strings.Cut(value, ":")
		credentials = append(credentials, "/run/credentials/postkeep.service/"+name)
	}
	for _, m := range cfg.Mailboxes {
		if !slices.Contains(credentials, m.PasswordFile) {
			t.Errorf("mailbox %s: no LoadCredential= gives %s", m.Name, m.PasswordFile)
		}
	}
}

func TestContainerRunsFromScratchAsUserWithTheVolumeOfItsConfiguration(t *testing.T) {
	cfg := load(t, "container/postkeep.yaml")
	_, last, ok := strings.Cut(read(t, "container/Containerfile"), "\nFROM scratch\n")
	if !ok || strings.Contains(last, "\nFROM ") {
		t.Fatal("the last stage is not FROM scratch")
	}
	if got := settings(last, "VOLUME", " "); !slices.Equal(got, []string{cfg.DataDir}) {
		t.Errorf("VOLUME %q, data_dir %s", got, cfg.DataDir)
	}
	if got := settings(last, "USER", " "); len(got) != 1 || !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(got[0]) {
		t.Errorf("USER %q is not the number of an ordinary user", got)
	}
	if got := settings(last, "ENV POSTKEEP_CONFIG", "="); !slices.Equal(got, []string{"/etc/postkeep/postkeep.yaml"}) {
		t.Errorf("ENV POSTKEEP_CONFIG=%q", got)
	}
}

type composeFile struct {
	Services map[string]struct {
		Build struct {
			Context    string
			Dockerfile string
		}
		Command []string
		Volumes []string
		Secrets []string
	}
	Volumes map[string]any
	Secrets map[string]struct{ File string }
}

func TestComposeGivesWhatItsConfigurationUses(t *testing.T) {
	cfg := load(t, "compose/postkeep.yaml")
	var compose composeFile
	if err := yaml.Unmarshal([]byte(read(t, "compose/compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	app := compose.Services["postkeep"]
	host := strings.TrimSuffix(strings.TrimPrefix(cfg.NATS.URL, "nats://"), ":4222")
	nats, ok := compose.Services[host]
	if !ok || host == "postkeep" || !slices.Contains(nats.Command, "--jetstream") {
		t.Errorf("nats.url is %s, which is no service with JetStream", cfg.NATS.URL)
	}
	if !slices.Contains(app.Volumes, "archive:"+cfg.DataDir) || !slices.Contains(app.Volumes, "./postkeep.yaml:/etc/postkeep/postkeep.yaml:ro") {
		t.Errorf("volumes %q", app.Volumes)
	}
	if _, ok := compose.Volumes["archive"]; !ok {
		t.Error("the volume archive is not declared")
	}
	if _, err := os.Stat(filepath.Join("compose", app.Build.Context, app.Build.Dockerfile)); err != nil {
		t.Errorf("build: %v", err)
	}
	for _, m := range cfg.Mailboxes {
		name := path.Base(m.PasswordFile)
		if m.PasswordFile != "/run/secrets/"+name || !slices.Contains(app.Secrets, name) || compose.Secrets[name].File == "" {
			t.Errorf("mailbox %s: no secret gives %s", m.Name, m.PasswordFile)
		}
	}
}
