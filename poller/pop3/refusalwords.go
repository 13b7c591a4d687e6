package pop3

// The words by which refusals are told apart, each at the start of a word. They
// are compared without case and accents. Sources are the code and the
// documentation of servers (Dovecot, Courier, Cyrus, qmail, GNU mailutils,
// Exchange, hMailServer, MDaemon, Zimbra) and what users of Gmail, Outlook,
// Yahoo, GMX, WEB.DE, T-Online, Orange, Libero, WP, Mail.ru, Yandex, QQ and
// NetEase report; see the table in refusal_test.go.

// busyWords are limits and other sessions: the server will let the client in
// when some time has passed.
var busyWords = [...]string{
	// English
	"too many", "too often", "too frequent", "too soon", "too quick", "too fast", "too much", "too recent", "frequency", "frequently",
	"limit", "exceed", "quota", "bandwidth", "throttl", "login rate", "connection rate", "rate of", "maximum", "max ", "simultaneous", "concurrent",
	"in use", "in-use", "inuse", "busy", "already", "another session", "another pop", "other session", "minute", "seconds", "hour", "interval",
	"minimum time", "login-delay", "over capacity", "lock maildrop", "lock mailbox", "locked by", "mailbox is locked", "mailbox locked", "maildrop is locked", "maildrop locked",
	// German
	"zu viele", "zu oft", "zu häufig", "zu haeufig", "zu schnell", "überschritten", "ueberschritten", "kontingent", "höchstzahl", "bereits",
	"in benutzung", "wird benutzt", "in gebrauch", "in verwendung", "belegt", "minuten", "sekunden", "stunde", "wartezeit", "andere sitzung",
	// French
	"trop de", "trop souvent", "trop fréquent", "limite", "dépass", "déjà", "en cours d'utilisation", "utilisée par", "secondes", "heure", "délai", "autre session",
	// Spanish and Portuguese
	"demasiad", "límite", "excedid", "superad", "en uso", "ya está", "ya esta", "minuto", "segundos", "ocupad", "muitas", "muitos", "em uso", "já está", "outra sessão",
	// Italian
	"troppi", "troppe", "superat", "in uso", "già", "minuti", "secondi", "occupat", "altra sessione",
	// Polish
	"zbyt", "przekrocz", "w użyciu", "używan", "minut", "sekund", "godzin", "zajęt", "inna sesja",
	// Dutch
	"te veel", "te vaak", "limiet", "overschreden", "in gebruik",
	// Russian
	"слишком", "лимит", "превыш", "огранич", "используется", "занят", "минут", "секунд", "час", "уже", "другой сес",
	// Chinese
	"频率", "频繁", "过于", "过多", "太多", "过快", "限制", "超过", "超出", "上限", "正在使用", "占用", "已登录", "已被锁", "邮箱被锁", "忙", "分钟", "秒后", "小时", "连接数",
	"頻率", "頻繁", "過於", "過多", "過快", "超過", "使用中", "已登入", "分鐘", "小時", "連線數",
	// Japanese
	"制限", "上限", "超え", "超過", "混雑", "混み合", "接続数", "多すぎ", "分後", "分間", "時間をおいて", "他のセッション", "すでに", "既に",
	// Korean
	"너무 많", "제한", "초과", "사용 중", "사용중",
}

// lockWords are of locked mailboxes, or of accounts that somebody locked: with
// [AUTH] it is the account.
var lockWords = [...]string{
	"lock", "gesperrt", "verrouill", "bloquead", "bloccat", "zablokowan", "заблокирован", "锁定", "鎖定", "ロック",
}

// temporaryWords are of a server that cannot now.
var temporaryWords = [...]string{
	// English
	"temporar", "transient", "unavailable", "not available", "maintenance", "overload", "backend", "back end", "back-end", "unreachable", "not reachable",
	"cannot connect", "can't connect", "could not connect", "unable to connect", "connect to", "connection refused", "connection closed", "connection is closed",
	"timeout", "timed out", "time out", "database", "internal", "server error", "system error", "system problem", "i/o error", "disk", "out of memory",
	"crash", "aack", "fork", "shutting down", "shutdown", "starting up", "service problem", "technical",
	// German
	"nicht verfügbar", "nicht verfuegbar", "nicht erreichbar", "vorübergehend", "voruebergehend", "temporär", "temporaer", "derzeit", "zurzeit", "zur zeit", "momentan",
	"im moment", "wartung", "überlast", "ueberlast", "störung", "stoerung", "technisch", "interner",
	// French
	"indisponible", "momentan", "temporair", "pour le moment", "surcharg", "injoignable", "erreur interne",
	// Spanish and Portuguese
	"temporal", "temporári", "temporari", "no disponible", "indisponí", "mantenimiento", "manutenç", "sobrecarg", "error interno", "erro interno",
	// Italian
	"temporane", "non disponibile", "manutenzione", "sovraccaric", "momentane", "errore interno",
	// Polish
	"tymczasow", "chwilow", "niedostęp", "konserwac", "prace techniczne", "przerwa", "przeciąż", "błąd wewnętrzny",
	// Dutch
	"tijdelijk", "niet beschikbaar", "onderhoud",
	// Russian
	"временн", "недоступ", "обслуживан", "технич", "перегруж", "внутренн",
	// Chinese
	"暂时", "临时", "不可用", "维护", "升级", "超时", "系统错误", "服务器错误", "暫時", "臨時", "維護", "逾時", "系統錯誤",
	// Japanese
	"一時的", "利用できません", "ご利用いただけません", "メンテナンス", "タイムアウト", "障害",
	// Korean
	"일시적", "점검",
}

// waitWords ask for patience, and laterWords for another try: a server may say
// so out of politeness.
var (
	waitWords = [...]string{
		"wait", "warten", "patient", "espere", "aguarde", "attendere", "poczekaj", "even wachten", "подожд", "请等待", "請等待", "お待ち",
	}
	laterWords = [...]string{
		"later", "try after", "später", "spaeter", "plus tard", "más tarde", "mais tarde", "più tardi", "później", "позже", "позднее",
		"稍后", "稍候", "稍後", "しばらく", "後ほど", "後で", "나중에", "잠시",
	}
	againWords = [...]string{
		"try again", "retry", "erneut", "noch einmal", "réessay", "inténtelo", "intente", "tente novamente", "riprova", "spróbuj", "попробуйте", "повторите",
		"再试", "重试", "再試", "重試", "もう一度", "다시",
	}
)

// unsupportedWords are of commands and mechanisms that the server does not
// know.
var unsupportedWords = [...]string{
	"unknown command", "unknown auth", "unknown mech", "unknown sasl", "unsupported", "not supported", "not support", "unrecogni", "unimplemented",
	"not implemented", "not understood", "invalid command", "bad command", "illegal command", "invalid mech", "no such mech", "mechanism not", "command not", "syntax",
}

// encryptionWords are of servers that take no password over this connection.
var encryptionWords = [...]string{
	"plaintext", "plain text", "cleartext", "clear text", "non-secure", "ssl", "tls", "stls", "starttls", "encrypt", "verschlüssel", "verschluessel", "chiffr", "cifrad", "crittograf", "szyfrowan",
}

// credentialWords are of a username or a password that is wrong, as clearly as
// servers say it.
var credentialWords = [...]string{
	// English
	"password", "passwd", "passphrase", "credential", "username", "user name", "user-name", "userid", "user id", "login name",
	"authentication fail", "authentication error", "authentication reject", "authentication unsuccessful", "authentication was not successful", "authentication invalid", "invalid authentication",
	"authorization fail", "authorisation fail", "auth fail", "auth error", "not authenticated", "authorization denied", "failed to authenticate", "could not authenticate", "unable to authenticate",
	"login fail", "logon fail", "log in fail", "log on fail", "login incorrect", "incorrect login", "invalid login", "bad login", "login invalid", "wrong login", "login denied", "bad auth", "bad log", "invalid logon",
	"unknown user", "user unknown", "no such user", "user not found", "invalid user", "bad user", "unknown account", "account not found", "no such account", "invalid account",
	"no mailbox for", "no mailbox here", "no such mailbox", "mailbox unknown", "unknown mailbox", "mailbox not found", "mailbox doesn't exist", "mailbox does not exist", "account does not exist", "account doesn't exist",
	"user does not exist", "user doesn't exist", "bad token", "invalid token", "token expired", "expired token", "token is invalid", "token has expired", "access token",
	// German
	"passwort", "kennwort", "benutzername", "zugangsdaten", "anmeldedaten", "anmeldung fehlgeschlagen", "login fehlgeschlagen", "authentifizierung", "authentisierung", "unbekannter benutzer", "benutzer unbekannt",
	// French
	"mot de passe", "identifiant", "nom d'utilisateur", "authentification", "utilisateur inconnu", "échec de connexion", "échec de la connexion",
	// Spanish and Portuguese
	"contraseña", "clave", "credencia", "autenticaci", "autenticaç", "usuario inv", "usuario desc", "nombre de usuario", "senha", "nome de usu", "usuário inv",
	// Italian
	"credenzial", "nome utente", "utente sconosciuto", "autenticazione",
	// Polish
	"hasło", "hasła", "uwierzyteln", "nazwa użytk", "nazwę użytk", "logowanie nie", "autoryzac",
	// Dutch
	"wachtwoord", "gebruikersnaam", "aanmelden mislukt",
	// Russian
	"парол", "логин", "имя пользователя", "имени пользователя", "неверн", "аутентифи", "авториз",
	// Chinese
	"密码", "密碼", "用户名", "使用者名稱", "帐号或", "账号或", "授权码", "认证失败", "验证失败", "驗證失敗", "登录失败", "登入失敗", "用户不存在",
	// Japanese
	"パスワード", "ユーザー名", "ユーザ名", "認証に失敗", "認証エラー", "認証できません", "ログインに失敗",
	// Korean
	"비밀번호", "암호", "인증",
}
