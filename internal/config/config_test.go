package config

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones in testdata, wherever the tests run

	"github.com/postkeep/postkeep/pipeline"
)

var update = flag.Bool("update", false, "write the .want files from what is got")

// Every file in testdata/bad is refused with the text of the .want file beside it.
func TestBadFileIsRefusedWithPlaceAndReason(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no bad files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			_, err := Load(file)
			var bad *Error
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, want an *Error", err)
			}
			for _, p := range bad.Problems {
				if p.Line < 1 || p.Column < 1 || p.Snippet == "" {
					t.Errorf("problem without a place: %+v", p)
				}
			}
			got, wantFile := err.Error()+"\n", strings.TrimSuffix(file, ".yaml")+".want"
			if strings.Contains(got, "hunter2") {
				t.Errorf("the error shows a secret:\n%s", got)
			}
			if *update {
				if err := os.WriteFile(wantFile, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestGoodFilesLoad(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no good files: %v", err)
	}
	for _, file := range files {
		if _, err := Load(file); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestEveryKeyIsRead(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.Abs("testdata/good")
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	shared := Session{
		Schedule: "@daily", Jitter: time.Minute, Delete: Delete{After: 14 * 24 * time.Hour},
		ReceiptWait: 10 * time.Second, MaxMessageBytes: 100e6, MaxMessages: 500, MaxDuration: 45 * time.Minute, CommitEvery: 50, Timeout: time.Minute, TLS: TLSStartTLS, CAFile: in("ca/all.pem"), Pipelining: "auto",
		TLSMinVersion: "1.2", Auth: AuthAuto, UTF8: "auto",
		Proxy: Proxy{URL: "socks5://[::1]:1080", Username: "p", PasswordFile: in("secrets/proxy")},
	}
	implicit, proxied, external := shared, shared, shared
	implicit.TLS, proxied.TLS = TLSImplicit, TLSImplicit
	proxied.Proxy = Proxy{URL: "http://proxy.example.org:3128"} // without the user of the other one
	external.Auth = "external"
	var pin Fingerprint
	for i := range pin {
		pin[i] = byte(i)
	}
	plain := shared
	plain.TLS, plain.Delete = TLSNone, Delete{}
	want := Config{
		DataDir:  filepath.FromSlash("/srv/postkeep"),
		TimeZone: TimeZone{berlin},
		NATS: NATS{
			URL:             "nats://a.example.com:4222,tls://b.example.com:4222",
			CredentialsFile: in("nats.creds"), Prefix: "postkeep-north", CAFile: in("nats.pem"), MaxStoreBytes: 16 << 20,
		},
		Web: Web{
			Listen: "[::1]:0", PublicURL: "https://archive.example.org", CertFile: in("web.pem"), KeyFile: in("web.key"), BehindProxy: true,
			SessionIdle: time.Minute, SessionLifetime: 720 * time.Hour,
			OIDC: OIDC{
				Issuer: "https://id.example.org", ClientID: "postkeep", ClientSecretFile: in("secrets/oidc"),
				NameClaim: "email", RoleClaim: "roles", MailboxClaim: "mailboxes",
				Roles: []OIDCRole{{"staff", "user"}, {"boss", "officer"}},
			},
		},
		Log:     Log{Level: slog.LevelDebug, Format: "json"},
		Poller:  Poller{Sessions: 1000, SessionsPerHost: 1},
		Index:   Index{MaxAttachmentBytes: 100_000_000, Unconfined: true},
		Archive: Archive{VolumeSize: 512 << 20, Verify: Verify{Schedule: "0 3 * * 0", Rate: 50e6}},
		Anchors: []Anchor{
			{TSA: "https://tsa.example.org/stamp", CAFile: in("tsa.pem"), Method: "POST", Schedule: "@daily"},
			{File: in("../checkpoints"), Method: "POST", Schedule: "@weekly"},
			{URL: "https://example.org/{size}?a=b", Method: "PUT", TokenFile: in("secrets/anchor"), Schedule: "@daily"},
		},
		Defaults: shared,
		Mailboxes: []Mailbox{
			{
				Name: "a.b_c-d@e+f", Host: "::1", Port: 1110, Username: "12345", PasswordEnv: "A_PASSWORD",
				Session: Session{
					Schedule: "CRON_TZ=Europe/Berlin 0 6 * * 1-5", Delete: Delete{Never: true}, ReceiptWait: 10 * time.Minute,
					MaxMessages: 2000, MaxDuration: 24 * time.Hour,
					Timeout: 30 * time.Second, TLS: TLSNone, CAFile: in("ca/own.pem"), Pipelining: Off,
					TLSMinVersion: TLS13, TLSRSAKeyExchange: true, Auth: "apop", UTF8: Off,
				},
			},
			{Name: "b", Host: "mail.example.org", Port: 110, Username: "b", PasswordFile: in("secrets/b"), Session: shared},
			{
				Name: "c", Host: "mail.example.org", Port: 110, AllowPlaintext: true, Username: "c",
				PasswordFile: in("secrets/c"), Session: plain,
			},
			{
				Name: "d", Host: "mail.example.org", Port: 1995, Username: "d", Session: proxied,
				OAuth2: OAuth2{
					ClientID: "id", ClientSecretFile: in("secrets/client"), Grant: GrantRefresh, TokenURL: "https://auth.example.org/token",
					AuthURL: "https://auth.example.org/auth", DeviceURL: "http://localhost:8080/device", Scopes: "pop offline_access",
					TokenFile: filepath.FromSlash("/srv/postkeep/oauth/d.json"),
				},
			},
			{
				Name: "e", Host: "mail.example.org", Port: 110, Username: "e", Session: external,
				ClientCertFile: in("e.crt"), ClientKeyFile: in("e.key"), TLSPin: pin,
			},
			{
				Name: "f", Provider: ProviderMicrosoft365, Host: "outlook.office365.com", Port: 995, Username: "f@example.org", Session: implicit,
				OAuth2: OAuth2{
					ClientID: "id", ClientSecretFile: in("s"), Tenant: "example.org", Grant: GrantClientCredentials,
					TokenURL:     "https://login.microsoftonline.com/example.org/oauth2/v2.0/token",
					AuthURL:      "https://login.microsoftonline.com/example.org/oauth2/v2.0/authorize",
					DeviceURL:    "https://login.microsoftonline.com/example.org/oauth2/v2.0/devicecode",
					Scopes:       "https://outlook.office365.com/.default",
					RedirectHost: "localhost", TokenFile: filepath.FromSlash("/srv/postkeep/oauth/f.json"),
				},
			},
			{
				Name: "g", Provider: ProviderGmail, Host: "pop.gmail.com", Port: 995, Username: "recent:g@gmail.com", Session: implicit,
				OAuth2: OAuth2{
					ClientID: "id", Grant: GrantRefresh, Scopes: "https://mail.google.com/",
					TokenURL: "https://oauth2.googleapis.com/token", AuthURL: "https://accounts.google.com/o/oauth2/v2/auth",
					AuthParams: map[string]string{"access_type": "offline", "prompt": "consent"},
					TokenFile:  filepath.FromSlash("/srv/postkeep/oauth/g.json"),
				},
			},
		},
	}
	got, err := Load("testdata/good/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got.TimeZone.String() != "Europe/Berlin" {
		t.Errorf("time zone %s", got.TimeZone)
	}
	got.TimeZone, want.TimeZone = TimeZone{}, TimeZone{}
	if !filepath.IsAbs(want.DataDir) { // on Windows /srv is relative to the drive
		got.DataDir, want.DataDir = "", ""
		for i := range got.Mailboxes {
			got.Mailboxes[i].OAuth2.TokenFile, want.Mailboxes[i].OAuth2.TokenFile = "", ""
		}
	}
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got  %+v\nwant %+v", *got, want)
	}
}

func TestWhatIsNotGivenHasTheDocumentedDefault(t *testing.T) {
	got, err := parse("f", t.TempDir(), []byte("mailboxes: [{name: a, host: h, username: u, password_env: P}]"))
	if err != nil {
		t.Fatal(err)
	}
	session := Session{
		Schedule: "@every 5m", Jitter: 10 * time.Second, ReceiptWait: 5 * time.Minute,
		Timeout: 2 * time.Minute, TLS: "implicit", Pipelining: "auto", TLSMinVersion: "1.2", Auth: "auto", UTF8: "auto",
	}
	if got.Defaults != session {
		t.Errorf("defaults %+v", got.Defaults)
	}
	if m := got.Mailboxes[0]; m.Session != session || m.Port != 995 {
		t.Errorf("mailbox %+v", m)
	}
	if got.TimeZone.Location != time.Local || got.NATS != (NATS{}) || got.Web.Listen != "" || got.Poller != (Poller{16, 4}) ||
		got.Archive.VolumeSize != 1<<30 || got.Index != (Index{true, 32 << 20, false}) || got.Log != (Log{slog.LevelInfo, "text"}) {
		t.Errorf("got %+v", *got)
	}
}

func TestSmallestStoreIsThatOfThePipeline(t *testing.T) {
	if minStoreBytes != pipeline.MinMaxStoreBytes {
		t.Errorf("%d, want %d", minStoreBytes, pipeline.MinMaxStoreBytes)
	}
	if text := fmt.Sprintf("0 is %dGiB", pipeline.DefaultMaxStoreBytes>>30); !bytes.Contains(Example(), []byte(text)) {
		t.Errorf("the example does not say %q", text)
	}
}

func TestFileNamesAreRelativeToTheFolderOfTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "postkeep.yaml")
	if err := os.WriteFile(file, Example(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(dir))
	got, err := Load(filepath.Join(filepath.Base(dir), "postkeep.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(dir, "data")
	if target, err := filepath.EvalSymlinks(dir); err == nil && got.DataDir != want { // a temporary folder may be a link
		want = filepath.Join(target, "data")
	}
	if got.DataDir != want {
		t.Errorf("data_dir %s, want %s", got.DataDir, want)
	}
}

func TestExampleIsValidAndHasNoMailbox(t *testing.T) {
	got, err := parse("example", t.TempDir(), Example())
	if err != nil || len(got.Mailboxes) != 0 {
		t.Fatalf("got %+v, %v", got, err)
	}
}

// Prose in the example begins with "# " and a word, settings with "#" at once or
// with the two spaces of their indentation.
var commentedSetting = regexp.MustCompile(`(?m)^#(\S|  )`)

func TestSettingsInTheExampleAreAllThereAndAtTheirDefaults(t *testing.T) {
	text := commentedSetting.ReplaceAll(Example(), []byte("$1"))
	got, err := parse("example", "", text)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Mailboxes) != 2 {
		t.Errorf("mailboxes %+v", got.Mailboxes)
	}
	want := defaults()
	want.Web.Listen = "127.0.0.1:8025" // for newcomers
	if got.Archive.Verify.Schedule == "" || len(got.Archive.Encryption.Recipients) != 1 || len(got.Anchors) != 3 {
		t.Errorf("archive %+v, anchors %+v", got.Archive, got.Anchors)
	}
	got.Mailboxes, got.Anchors, got.Archive = nil, nil, want.Archive // which are examples
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got  %+v\nwant %+v", *got, want)
	}
	rare := []string{
		"allow_plaintext", "after", "client_secret_file", "grant", "token_url", "auth_url", "device_url", "scopes",
		"client_cert_file", "client_key_file", "tls_pin",
		"oidc", "issuer", "name_claim", "role_claim", "roles", "value", "role", "mailbox_claim",
	}
	for key := range safeKeys() {
		if !slices.Contains(rare, key) && !bytes.Contains(text, []byte(key+":")) {
			t.Errorf("no %s", key)
		}
	}
}

func TestMissingFileSaysHowToWriteOne(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "postkeep init") {
		t.Errorf("got %v", err)
	}
}

func TestFileOverTheLimitIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "big.yaml")
	for size, refused := range map[int]bool{maxFileBytes: false, maxFileBytes + 1: true} {
		text := append([]byte("{}\n#"), bytes.Repeat([]byte("x"), size-4)...)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(file); (err != nil) != refused {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// The page for operators has every key in a code span.
func TestEveryKeyIsDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.FromSlash("../../docs/configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	for key := range safeKeys() {
		if !bytes.Contains(page, []byte("`"+key+"`")) {
			t.Errorf("docs/configuration.md does not mention %s", key)
		}
	}
}

func TestErrorIsBounded(t *testing.T) {
	if _, err := parse("f", "", []byte(strings.Repeat("ü", 1e5)+": "+strings.Repeat("ü", 1e5))); err == nil || len(err.Error()) > 1000 {
		t.Errorf("%d bytes", len(err.Error()))
	}
	_, err := parse("f", "", []byte("mailboxes:\n"+strings.Repeat("- port: x\n", 1000)))
	if err == nil || strings.Count(err.Error(), "\n") > 6*maxProblems || !strings.HasSuffix(err.Error(), " more") {
		t.Errorf("got %v", err)
	}
}

// Nesting, on which the parser's time is quadratic, is refused before it parses.
func TestHostileNestingIsRefusedQuickly(t *testing.T) {
	for _, text := range []string{"[", "{", "- ", "a: {", "? ", "a: [", "- - ", "&a ", "!a "} {
		begin := time.Now()
		if _, err := parse("f", "", []byte(strings.Repeat(text, (64<<10)/len(text)))); err == nil {
			t.Errorf("%q repeated is accepted", text)
		}
		// A second with the race detector; without the check it is hours.
		if d := time.Since(begin); d > time.Minute {
			t.Errorf("%q repeated took %v", text, d)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"usrname", "username", 1}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2},
	} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
