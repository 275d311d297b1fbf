package identity

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/kubernetes"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/console"
	"millrace.dev/millrace/controllers/view"
)

// Audience of tokens that are good for the console alone (kubectl create token NAME --audience millrace.dev/console). Tokens for the API server are taken, too.
const Audience = "millrace.dev/console"

const (
	// maxToken bounds a token, in bytes.
	maxToken = 16 << 10
	// askAtOnce bounds the requests to the API server at the same time, and askTime each of them.
	askAtOnce = 16
	askTime   = 10 * time.Second
	// knownTokens and knownRights bound what is kept.
	knownTokens, knownRights = 1024, 8192
)

// Options of an Identity. Kubernetes and Key are required.
type Options struct {
	// Kubernetes asks the API server.
	Kubernetes kubernetes.Interface
	// Key is a secret that all replicas share; sessions end when it changes.
	Key func() ([]byte, error)
	// Proxy names users.
	Proxy Proxy
	// TokenFor is how long the API server is not asked again about a token, and RightFor about a right. Defaults: 30s, 10s.
	TokenFor, RightFor time.Duration
	// SessionFor is how long a session lasts at most. Default: 12h.
	SessionFor time.Duration
	// Now is the clock of sessions. Default: time.Now.
	Now func() time.Time
}

// Identity asks the API server who a user is, and what the user may do. It is a console.Access, and keeps console.Sessions. Its methods may be
// called from any goroutine.
type Identity struct {
	options Options

	tokens, rights *cache.LRUExpireCache
	asking         singleflight.Group
	turns          chan struct{}
}

// New returns an Identity.
func New(o Options) *Identity {
	o.TokenFor, o.RightFor = cmp.Or(o.TokenFor, 30*time.Second), cmp.Or(o.RightFor, 10*time.Second)
	o.SessionFor = cmp.Or(o.SessionFor, 12*time.Hour)
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Identity{
		options: o, tokens: cache.NewLRUExpireCache(knownTokens), rights: cache.NewLRUExpireCache(knownRights), turns: make(chan struct{}, askAtOnce),
	}
}

// User is who sends a request: whom a trusted proxy names, or whose the token is that comes with it.
func (i *Identity) User(r *http.Request) (console.User, error) {
	if user, named, err := i.options.Proxy.user(r); named || err != nil {
		return user, err
	}
	if header := r.Header.Get("Authorization"); header != "" {
		kind, token, _ := strings.Cut(header, " ")
		if !strings.EqualFold(kind, "Bearer") {
			return console.User{}, fmt.Errorf("%w: the header Authorization holds no Bearer token", console.ErrUnauthenticated)
		}
		return i.review(r.Context(), strings.TrimSpace(token))
	}
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return console.User{}, fmt.Errorf("%w: the request has neither a token nor a session", console.ErrUnauthenticated)
	}
	token, err := i.open(cookie.Value)
	if err != nil {
		return console.User{}, err
	}
	user, err := i.review(r.Context(), token)
	user.Session = true
	return user, err
}

// reviewed is what the API server says of a token.
type reviewed struct {
	user  console.User
	known bool
}

// review asks the API server whose a token is. What is kept is not the token but its hash.
func (i *Identity) review(ctx context.Context, token string) (console.User, error) {
	if token == "" || len(token) > maxToken {
		return console.User{}, fmt.Errorf("%w: the token has %d bytes", console.ErrUnauthenticated, len(token))
	}
	key := sha256.Sum256([]byte(token))
	found, err := i.once(ctx, i.tokens, "token ", key, func(ctx context.Context) (any, time.Duration, error) {
		r, err := i.askToken(ctx, token)
		keep := i.options.TokenFor
		if !r.known {
			keep /= 3
		}
		return r, keep, err
	})
	if err != nil {
		return console.User{}, fmt.Errorf("ask the API server whose the token is: %w", err)
	}
	r := found.(reviewed)
	if !r.known {
		return console.User{}, fmt.Errorf("%w: the API server does not know the token, or it has expired", console.ErrUnauthenticated)
	}
	return r.user, nil
}

// askToken takes a token for the API server, and else one for the console.
func (i *Identity) askToken(ctx context.Context, token string) (reviewed, error) {
	for _, audiences := range [][]string{nil, {Audience}} {
		answer, err := i.options.Kubernetes.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences},
		}, metav1.CreateOptions{})
		if err != nil {
			return reviewed{}, err
		}
		s := answer.Status
		// An authenticator that knows no audiences names none.
		if !s.Authenticated || s.User.Username == "" || audiences != nil && !slices.Contains(s.Audiences, Audience) {
			continue
		}
		user := console.User{Name: s.User.Username, UID: s.User.UID, Groups: s.User.Groups}
		for name, values := range s.User.Extra {
			if user.Extra == nil {
				user.Extra = map[string][]string{}
			}
			user.Extra[name] = values
		}
		return reviewed{user, true}, nil
	}
	return reviewed{}, nil
}

// Allowed asks the API server whether a user may do so with Pipelines. Who may list those of all namespaces may list those of each.
func (i *Identity) Allowed(ctx context.Context, user console.User, verb string, of view.Name) error {
	places := []string{of.Namespace}
	if verb == console.VerbList {
		places = []string{"", of.Namespace} // most who may see more than one namespace may see all: one question
	}
	for _, namespace := range places {
		allowed, err := i.allowed(ctx, user, authorizationv1.ResourceAttributes{
			Verb: verb, Group: v1alpha1.GroupVersion.Group, Resource: "pipelines", Namespace: namespace, Name: of.Name,
		})
		if err != nil {
			return fmt.Errorf("ask the API server what %s may do: %w", user.Name, err)
		}
		if allowed {
			return nil
		}
	}
	what := "pipelines"
	if of.Name != "" {
		what = "pipeline " + of.Name
	}
	return fmt.Errorf("%w: %s may not %s %s in namespace %s", console.ErrForbidden, user.Name, verb, what, of.Namespace)
}

func (i *Identity) allowed(ctx context.Context, user console.User, what authorizationv1.ResourceAttributes) (bool, error) {
	spec := authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: &what, User: user.Name, Groups: user.Groups, UID: user.UID}
	for name, values := range user.Extra {
		if spec.Extra == nil {
			spec.Extra = map[string]authorizationv1.ExtraValue{}
		}
		spec.Extra[name] = values
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return false, err
	}
	found, err := i.once(ctx, i.rights, "right ", sha256.Sum256(text), func(ctx context.Context) (any, time.Duration, error) {
		answer, err := i.options.Kubernetes.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
		if err != nil {
			return false, 0, err
		}
		return answer.Status.Allowed && !answer.Status.Denied, i.options.RightFor, nil
	})
	if err != nil {
		return false, err
	}
	return found.(bool), nil
}

// errBusy means that too much is asked at the same time.
var errBusy = errors.New("the API server answers too slowly")

// once returns what is known under a key, or asks: once for all who want to know at the same time, and for no more keys than askAtOnce.
func (i *Identity) once(ctx context.Context, known *cache.LRUExpireCache, kind string, key [sha256.Size]byte, ask func(context.Context) (any, time.Duration, error)) (any, error) {
	if value, ok := known.Get(key); ok {
		return value, nil
	}
	// The answer is for all who wait, so it does not end with the first of them.
	shared := context.WithoutCancel(ctx)
	answer := i.asking.DoChan(kind+string(key[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(shared, askTime)
		defer cancel()
		select {
		case i.turns <- struct{}{}:
			defer func() { <-i.turns }()
		case <-ctx.Done():
			return nil, errBusy
		}
		value, keep, err := ask(ctx)
		if err != nil {
			return nil, err
		}
		known.Add(key, value, keep)
		return value, nil
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case a := <-answer:
		return a.Val, a.Err
	}
}
