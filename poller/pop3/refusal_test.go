package pop3_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/text/encoding/htmlindex"

	"github.com/postkeep/postkeep/poller/pop3"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// refusedLogins are what servers say when they refuse a login.
var refusedLogins = []struct {
	who, words, charset string // "" is UTF-8
	want                pop3.Kind
}{
	// Limits and other sessions.
	{"Outlook.com", "Exceeded the login limit for a 15 minute period. Reduce the frequency of requests to the POP3 server.", "", pop3.KindBusy},
	{"Gmail", "[AUTH] Account exceeded pop command or bandwidth limits (Failure)", "", pop3.KindBusy},
	{"Gmail", "[IN-USE] Unable to lock maildrop: mailbox is locked by another POP session", "", pop3.KindBusy},
	{"Gmail", "[LOGIN-DELAY] Minimum time between logins not met", "", pop3.KindBusy},
	{"AOL", "login rate limit exceeded", "", pop3.KindBusy},
	{"Gordano", "Busy - please try later", "", pop3.KindBusy},
	{"Dovecot", "Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)", "", pop3.KindBusy},
	{"hMailServer", "Your mailbox is already locked", "", pop3.KindBusy},
	{"hMailServer", "Too many invalid logon attempts.", "", pop3.KindBusy},
	{"UW ipop3d", "Can't get lock. Mailbox in use", "", pop3.KindBusy},
	{"qpopper", "Mailbox is locked by POP3 session 4711", "", pop3.KindBusy},
	{"MDaemon", "Sorry, too many connections from this IP address", "", pop3.KindBusy},
	{"download limit", "Daily download quota exceeded", "", pop3.KindBusy},
	{"an IMAP code", "[LIMIT] no more sessions", "", pop3.KindBusy},
	{"WEB.DE", "POP3-Abruf nur alle 15 Minuten erlaubt", "", pop3.KindBusy},
	{"GMX", "Zugriff nur alle 15 Minuten möglich", "windows-1252", pop3.KindBusy},
	{"T-Online", "Postfach ist bereits durch eine andere Sitzung geöffnet", "windows-1252", pop3.KindBusy},
	{"Freenet", "Zu viele gleichzeitige Verbindungen", "", pop3.KindBusy},
	{"1&1", "Anmeldung zu haeufig, bitte warten", "", pop3.KindBusy},
	{"German", "Abrufkontingent überschritten", "windows-1252", pop3.KindBusy},
	{"Orange", "Trop de connexions simultanées, réessayez plus tard", "windows-1252", pop3.KindBusy},
	{"Free", "Boîte aux lettres déjà ouverte par une autre session", "", pop3.KindBusy},
	{"Telefónica", "El buzón está en uso", "windows-1252", pop3.KindBusy},
	{"Terra", "Demasiadas conexiones, inténtelo más tarde", "windows-1252", pop3.KindBusy},
	{"UOL", "Limite de conexões excedido", "windows-1252", pop3.KindBusy},
	{"Libero", "Troppe connessioni, riprovare più tardi", "windows-1252", pop3.KindBusy},
	{"Aruba", "Casella già in uso", "windows-1252", pop3.KindBusy},
	{"WP", "Zbyt częste logowanie, spróbuj później", "iso-8859-2", pop3.KindBusy},
	{"Onet", "Przekroczono limit połączeń", "", pop3.KindBusy},
	{"KPN", "Te veel verbindingen", "", pop3.KindBusy},
	{"Mail.ru", "Слишком много подключений, повторите позже", "windows-1251", pop3.KindBusy},
	{"Rambler", "Слишком много подключений, повторите позже", "koi8-r", pop3.KindBusy},
	{"Yandex", "Превышен лимит подключений", "", pop3.KindBusy},
	{"QQ", "Login fail. Account is abnormal, service is not open, password is incorrect, login frequency limited, or system is busy.", "", pop3.KindBusy},
	{"QQ", "登录过于频繁，请稍后再试", "gb18030", pop3.KindBusy},
	{"NetEase", "系统繁忙", "gb18030", pop3.KindBusy},
	{"NetEase", "邮箱正在使用中", "", pop3.KindBusy},
	{"HiNet", "登入過於頻繁，請稍後再試", "big5", pop3.KindBusy},
	{"Nifty", "接続数が上限を超えています", "shift_jis", pop3.KindBusy},
	{"OCN", "メールボックスは他のセッションで使用中です。時間をおいてお試しください", "euc-jp", pop3.KindBusy},
	{"Naver", "동시 접속 수를 초과했습니다", "euc-kr", pop3.KindBusy},

	// The server cannot now.
	{"Dovecot", "[SYS/TEMP] Temporary authentication failure. [mail:2024-05-01 10:00:00]", "", pop3.KindTemporary},
	{"a proxy", "[AUTH] Temporary authentication failure", "", pop3.KindTemporary},
	{"a proxy", "Authentication failed: backend not reachable", "", pop3.KindTemporary},
	{"a proxy", "Login failed: can't connect to database", "", pop3.KindTemporary},
	{"Courier", "Temporary problem, please try again later", "", pop3.KindTemporary},
	{"Exchange", "Server Unavailable. 21", "", pop3.KindTemporary},
	{"Exchange", "Connection is closed. 22", "", pop3.KindTemporary},
	{"vpopmail", "aack, child crashed", "", pop3.KindTemporary},
	{"qmail", "unable to fork", "", pop3.KindTemporary},
	{"Yahoo", "[SYS/TEMP] Server error, please try again after sometime.", "", pop3.KindTemporary},
	{"Kerio", "Authentication failed, try again later", "", pop3.KindTemporary},
	{"an LDAP", "internal error while checking the password", "", pop3.KindTemporary},
	{"Strato", "Wartung: Postfach derzeit nicht verfügbar", "windows-1252", pop3.KindTemporary},
	{"Bluewin", "Service momentanément indisponible", "windows-1252", pop3.KindTemporary},
	{"Movistar", "Servicio temporalmente no disponible", "", pop3.KindTemporary},
	{"Tiscali", "Servizio in manutenzione", "", pop3.KindTemporary},
	{"o2.pl", "Usługa chwilowo niedostępna", "iso-8859-2", pop3.KindTemporary},
	{"Mail.ru", "Сервер временно недоступен", "windows-1251", pop3.KindTemporary},
	{"Sina", "系统维护，服务暂时不可用", "gb18030", pop3.KindTemporary},
	{"BIGLOBE", "ただいまメンテナンス中です", "shift_jis", pop3.KindTemporary},

	// The credentials.
	{"Dovecot", "[AUTH] Authentication failed.", "", pop3.KindAuth},
	{"old Dovecot", "Authentication failed.", "", pop3.KindAuth},
	{"Gmail", "[AUTH] Username and password not accepted.", "", pop3.KindAuth},
	{"Gmail", "[AUTH] Application-specific password required: https://support.google.com/accounts/answer/185833", "", pop3.KindAuth},
	{"Gmail", "[AUTH] Web login required: https://support.google.com/mail/answer/78754", "", pop3.KindAuth},
	{"Exchange", "Logon failure: unknown user name or bad password.", "", pop3.KindAuth},
	{"Microsoft 365", "Authentication failure: unknown user name or bad password.", "", pop3.KindAuth},
	{"Courier", "Login failed.", "", pop3.KindAuth},
	{"Cyrus", "[AUTH] Invalid login", "", pop3.KindAuth},
	{"qmail", "authorization failed", "", pop3.KindAuth},
	{"Zimbra", "invalid username/password", "", pop3.KindAuth},
	{"hMailServer", "Invalid user name or password.", "", pop3.KindAuth},
	{"MDaemon", "Sorry, can't login: unknown user or bad password; please try again", "", pop3.KindAuth},
	{"RFC 1939", "sorry, no mailbox for frated here", "", pop3.KindAuth},
	{"Yandex", "[AUTH] login failure or POP3 disabled, try later. sc=AbC1", "", pop3.KindAuth},
	{"GMX", "Benutzername oder Passwort ungültig", "windows-1252", pop3.KindAuth},
	{"T-Online", "Anmeldung fehlgeschlagen: falsches Kennwort", "", pop3.KindAuth},
	{"Orange", "mot de passe erroné", "windows-1252", pop3.KindAuth},
	{"Terra", "contraseña incorrecta", "windows-1252", pop3.KindAuth},
	{"UOL", "senha incorreta", "", pop3.KindAuth},
	{"Libero", "credenziali non valide", "", pop3.KindAuth},
	{"WP", "nieprawidłowe hasło", "iso-8859-2", pop3.KindAuth},
	{"KPN", "wachtwoord onjuist", "", pop3.KindAuth},
	{"Mail.ru", "неверный пароль", "windows-1251", pop3.KindAuth},
	{"QQ", "密码错误", "gb18030", pop3.KindAuth},
	{"QQ", "请使用授权码登录。详情请看: http://service.mail.qq.com/", "gb18030", pop3.KindAuth},
	{"Nifty", "パスワードが違います", "shift_jis", pop3.KindAuth},
	{"Naver", "비밀번호가 틀렸습니다", "euc-kr", pop3.KindAuth},

	// Anything else may be anything.
	{"nobody", "", "", pop3.KindRefused},
	{"NetEase", "Unable to log on", "", pop3.KindRefused},
	{"Gmail", "[SYS/PERM] Your account is not enabled for POP access.", "", pop3.KindRefused},
	{"Yahoo", "[SYS/PERM] pop not allowed for user.", "", pop3.KindRefused},
	{"Dovecot", "[AUTH] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.", "", pop3.KindRefused},
	{"qmail", "this user has no $HOME/Maildir", "", pop3.KindRefused},
	{"a provider", "POP access has been disabled for this account", "", pop3.KindRefused},
}

func TestRefusedLoginsInTheWordsOfRealServers(t *testing.T) {
	var answer atomic.Value
	server := startServer(t, pop3test.Config{
		Without: []string{"SASL"},
		Hook: pop3test.On("PASS", "", func(*pop3test.Session, pop3test.Answer) pop3test.Answer {
			return pop3test.Raw("-ERR " + answer.Load().(string) + "\r\n")
		}),
	})
	for _, tc := range refusedLogins {
		raw := tc.words
		if tc.charset != "" {
			enc, err := htmlindex.Get(tc.charset)
			if err == nil {
				raw, err = enc.NewEncoder().String(tc.words)
			}
			if err != nil {
				t.Fatalf("%s: %v", tc.words, err)
			}
		}
		answer.Store(raw)
		conn := dial(t, optionsFor(server))
		err := conn.Login(t.Context(), pop3.Credentials{Username: user, Password: password})
		var e *pop3.Error
		if !errors.As(err, &e) || e.Kind != tc.want {
			t.Errorf("%s, %q: got %s, want %s", tc.who, tc.words, pop3.KindOf(err), tc.want)
			continue
		}
		if temporary := tc.want == pop3.KindBusy || tc.want == pop3.KindTemporary; e.Temporary() != temporary {
			t.Errorf("%s, %q: temporary %v", tc.who, tc.words, e.Temporary())
		}
		if !strings.Contains(err.Error(), tc.words) {
			t.Errorf("%s: the server's words %q are not in %q", tc.who, tc.words, err)
		}
		if blamed := strings.Contains(e.Hint, "password"); blamed != (tc.want == pop3.KindAuth) {
			t.Errorf("%s, %q: hint %q", tc.who, tc.words, e.Hint)
		}
	}
}
