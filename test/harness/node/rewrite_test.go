package node

import "testing"

func TestRewrite(t *testing.T) {
	r := newRewriter("/root", []string{"/etc/app", "/etc/app/tls", "/tmp"})
	for name, c := range map[string]struct{ text, want string }{
		"exact":                {"/etc/app", "/root/etc/app"},
		"file below":           {"/etc/app/config.yaml", "/root/etc/app/config.yaml"},
		"inner mount":          {"/etc/app/tls/ca.crt", "/root/etc/app/tls/ca.crt"},
		"flag":                 {"--config=/etc/app/c", "--config=/root/etc/app/c"},
		"list":                 {"a=/etc/app/x,b=/tmp", "a=/root/etc/app/x,b=/root/tmp"},
		"shell":                {`cat "/etc/app/x" >/tmp/y; ls /tmp`, `cat "/root/etc/app/x" >/root/tmp/y; ls /root/tmp`},
		"file URL":             {"file:///etc/app/x", "file:///root/etc/app/x"},
		"longer element":       {"/etc/apple /tmpfs /tmp-x", "/etc/apple /tmpfs /tmp-x"},
		"inside another path":  {"/var/etc/app /x/tmp", "/var/etc/app /x/tmp"},
		"path of a URL":        {"http://host:80/tmp/x", "http://host:80/tmp/x"},
		"already a host path":  {"/root/etc/app/x", "/root/etc/app/x"},
		"nothing to be mapped": {"stage=/home", "stage=/home"},
	} {
		if got := r.rewrite(c.text); got != c.want {
			t.Errorf("%s: rewrite(%q): got %q, want %q", name, c.text, got, c.want)
		}
	}
}

func TestExpand(t *testing.T) {
	v := &variables{value: map[string]string{}}
	v.set("A", "1")
	v.set("B", v.expand("$(A)2"))
	for text, want := range map[string]string{
		"$(B)": "12", "x$(A)y$(B)": "x1y12", "$(NONE)": "$(NONE)",
		"$$(A)": "$(A)", "$A": "$A", "$(A": "$(A", "cost $$5": "cost $5",
	} {
		if got := v.expand(text); got != want {
			t.Errorf("expand(%q): got %q, want %q", text, got, want)
		}
	}
}

func TestRepository(t *testing.T) {
	for image, want := range map[string]string{
		"app": "app", "app:v1": "app", "r.io:5000/a/app": "r.io:5000/a/app",
		"r.io:5000/a/app:v1": "r.io:5000/a/app", "a/app:v1@sha256:00": "a/app", "a/app@sha256:00": "a/app",
	} {
		if got := repository(image); got != want {
			t.Errorf("repository(%q): got %q, want %q", image, got, want)
		}
	}
}
