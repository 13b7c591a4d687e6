package oidc_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Names by which the fake provider knows its one client.
const (
	clientID     = "postkeep"
	clientSecret = "the secret of the client"
	redirectURL  = "http://archive.example.com/login/provider/back"
)

// provider is an OpenID Connect provider that can be told to misbehave.
type provider struct {
	t      *testing.T
	server *httptest.Server
	key    *ecdsa.PrivateKey

	mu     sync.Mutex
	codes  map[string]url.Values // what the authorization was asked for, by code
	claims map[string]any        // of the next token; those of the protocol are added
	spoil  func(claims map[string]any)
	forged bool // signed by another key
	tokens int  // requests for tokens
}

func startProvider(t *testing.T) *provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t, key: key, codes: map[string]url.Values{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("POST /token", p.token)
	p.server = httptest.NewServer(mux)
	t.Cleanup(p.server.Close)
	return p
}

func (p *provider) write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		p.t.Error(err)
	}
}

func (p *provider) discovery(w http.ResponseWriter, _ *http.Request) {
	at := p.server.URL
	p.write(w, map[string]any{
		"issuer": at, "authorization_endpoint": at + "/authorize", "token_endpoint": at + "/token", "jwks_uri": at + "/keys",
		"id_token_signing_alg_values_supported": []string{"ES256"}, "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
	})
}

func (p *provider) keys(w http.ResponseWriter, _ *http.Request) {
	point, err := p.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		p.t.Error(err)
		return
	}
	p.write(w, map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256", "x": encode(point[1:33]), "y": encode(point[33:]),
	}}})
}

// authorize is what somebody does at the provider: it returns the query of the
// address that they are sent back to.
func (p *provider) authorize(address string) url.Values {
	p.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		p.t.Fatal(err)
	}
	q := u.Query()
	for name, want := range map[string]string{"response_type": "code", "client_id": clientID, "redirect_uri": redirectURL, "code_challenge_method": "S256"} {
		if got := q.Get(name); got != want {
			p.t.Errorf("authorization: %s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(q.Get(name)) < 20 {
			p.t.Errorf("authorization: %s %q can be guessed", name, q.Get(name))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	code := rand.Text()
	p.codes[code] = q
	return url.Values{"code": {code}, "state": {q.Get("state")}}
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens++
	id, secret, ok := r.BasicAuth()
	if !ok {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	} else if unescaped, err := url.QueryUnescape(secret); err == nil {
		secret = unescaped
	}
	asked, known := p.codes[r.PostFormValue("code")]
	delete(p.codes, r.PostFormValue("code"))
	challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if id != clientID || secret != clientSecret || !known || r.PostFormValue("redirect_uri") != redirectURL || encode(challenge[:]) != asked.Get("code_challenge") {
		w.WriteHeader(http.StatusBadRequest)
		p.write(w, map[string]string{"error": "invalid_grant"})
		return
	}
	claims := map[string]any{"iss": p.server.URL, "aud": clientID, "sub": "4711", "nonce": asked.Get("nonce"),
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
	for name, value := range p.claims {
		claims[name] = value
	}
	if p.spoil != nil {
		p.spoil(claims)
	}
	p.write(w, map[string]any{"access_token": "unused", "token_type": "Bearer", "id_token": p.sign(claims)})
}

func (p *provider) sign(claims map[string]any) string {
	body, err := json.Marshal(claims)
	if err != nil {
		p.t.Error(err)
	}
	signed := encode([]byte(`{"alg":"ES256","kid":"1","typ":"JWT"}`)) + "." + encode(body)
	key := p.key
	if p.forged {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			p.t.Error(err)
		}
	}
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		p.t.Error(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + encode(signature)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
