package console

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"reflect"
	"time"
)

// sessionPath is where browsers sign in and out. Who asks there need not be known.
const sessionPath = "/api/v1/session"

// maxSignIn bounds the body of a request to sign in.
const maxSignIn = 32 << 10

// signIn takes a token out of the body, never out of an address, which logs and histories keep.
func (c *console) signIn(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		c.fail(w, r, problem{Status: http.StatusUnsupportedMediaType, Reason: "Invalid", Message: "want Content-Type: application/json"})
		return
	}
	var body struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSignIn)).Decode(&body); err != nil || body.Token == "" {
		c.fail(w, r, invalid(`the request: want {"token": "..."} with the token of a user of the cluster`))
		return
	}
	user, err := c.Sessions.SignIn(w, r.WithContext(ctx), body.Token)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	c.answer(w, map[string]string{"user": user.Name})
}

func (c *console) signOut(w http.ResponseWriter, _ *http.Request) {
	c.Sessions.SignOut(w)
	c.answer(w, struct{}{})
}

func (c *console) answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(value) // a client that is gone hears nothing
}

// ended is why a stream ended that its client did not end.
type ended struct{ error }

// endedBy is why whileAllowed has ended a context; nil = it has not.
func endedBy(ctx context.Context) error {
	var e ended
	if errors.As(context.Cause(ctx), &e) {
		return e.error
	}
	return nil
}

// whileAllowed is a context that ends when who has sent a request is not known any more, or may not read what it names; when nobody can tell,
// too. Call stop when it is not needed any more.
func (c *console) whileAllowed(ctx context.Context, r *http.Request) (while context.Context, stop func()) {
	if c.Access == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.watchAccess(ctx, r); err != nil && ctx.Err() == nil {
			cancel(ended{err})
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

// watchAccess returns why a stream must end.
func (c *console) watchAccess(ctx context.Context, r *http.Request) error {
	before, _ := r.Context().Value(userKey{}).(User)
	of := pipelineOf(r)
	expire := time.NewTimer(c.Lifetime)
	defer expire.Stop()
	ticker := time.NewTicker(c.Recheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-expire.C:
			return again("the stream has been open for long")
		case <-ticker.C:
		}
		user, err := c.Access.User(r)
		switch {
		case err != nil:
			return err
		case !reflect.DeepEqual(user, before):
			return again("the groups of the user have changed")
		case of.Name == "": // the list looks itself
			continue
		}
		if err := c.Access.Allowed(ctx, user, VerbGet, of); err != nil {
			return err
		}
	}
}

// again is a problem after which a page connects anew.
func again(why string) problem {
	return problem{Status: http.StatusServiceUnavailable, Reason: "ConnectAgain", Message: why, Do: "The page connects again."}
}
