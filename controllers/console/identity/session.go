package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"time"

	"millrace.dev/millrace/controllers/console"
)

const (
	// cookieName: a browser takes a cookie with this prefix over TLS alone, for this host and all of its paths.
	cookieName = "__Host-millrace-console"
	// purpose keeps the key of sessions apart from other uses of the secret.
	purpose = "millrace.dev/console session 1"
	// maxCookie is what browsers take, name and attributes included.
	maxCookie = 4096 - 128
)

// SignIn has the answer set the cookie of a session, when the API server knows the token.
func (i *Identity) SignIn(w http.ResponseWriter, r *http.Request, token string) (console.User, error) {
	user, err := i.review(r.Context(), token)
	if err != nil {
		return console.User{}, err
	}
	value, err := i.seal(token)
	if err != nil {
		return console.User{}, err
	}
	if len(value) > maxCookie {
		return console.User{}, fmt.Errorf("%w: the token has %d bytes, too many for a cookie: take a shorter one, such as from kubectl create token NAME --audience %s, or put a proxy in front",
			console.ErrUnauthenticated, len(token), Audience)
	}
	setCookie(w, value, 0)
	user.Session = true
	return user, nil
}

// SignOut has the answer delete the cookie.
func (i *Identity) SignOut(w http.ResponseWriter) { setCookie(w, "", -1) }

func setCookie(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: value, Path: "/", MaxAge: maxAge, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}

// sealer encrypts with a key that follows from the secret.
func (i *Identity) sealer() (cipher.AEAD, error) {
	secret, err := i.options.Key()
	if err != nil {
		return nil, fmt.Errorf("key of the sessions: %w", err)
	}
	key, err := hkdf.Key(sha256.New, secret, nil, purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("key of the sessions: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal is the value of a cookie: when the session began, and the token.
func (i *Identity) seal(token string) (string, error) {
	s, err := i.sealer()
	if err != nil {
		return "", err
	}
	plain := binary.BigEndian.AppendUint64(nil, uint64(i.options.Now().Unix()))
	return base64.RawURLEncoding.EncodeToString(s.Seal(nil, nil, append(plain, token...), []byte(purpose))), nil
}

// open returns the token of a session.
func (i *Identity) open(value string) (string, error) {
	ended := func(why string) error { return fmt.Errorf("%w: the session %s", console.ErrUnauthenticated, why) }
	s, err := i.sealer()
	if err != nil {
		return "", err
	}
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return "", ended("is none of this console")
	}
	plain, err := s.Open(nil, nil, sealed, []byte(purpose))
	if err != nil || len(plain) < 8 {
		return "", ended("has ended: the certificate of the console was renewed, or it is none of this console")
	}
	began := time.Unix(int64(binary.BigEndian.Uint64(plain)), 0)
	if i.options.Now().Sub(began) >= i.options.SessionFor {
		return "", ended("has ended after " + i.options.SessionFor.String())
	}
	return string(plain[8:]), nil
}
