package permissions

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"millrace.dev/millrace/controllers/plan"
)

// Variable is the name of what the server takes a user's password or public nkey from.
func Variable(user, auth string) string {
	return strings.ToUpper(strings.NewReplacer(".", "__", "-", "_").Replace(user)) + "_" + strings.ToUpper(auth)
}

func writeNATS(out io.Writer, users []plan.User, auth string) error {
	var b strings.Builder
	b.WriteString("# Made by millrace nats-permissions. The server takes each $VARIABLE from its environment;\n" +
		"# a password that does not begin with a letter has to stand in quotes there.\n" +
		"authorization {\n  users = [\n")
	for _, u := range users {
		value := "$" + Variable(u.Name, auth)
		if auth == "nkey" {
			fmt.Fprintf(&b, "    # %s\n    {nkey: %s\n", u.Name, value)
		} else {
			fmt.Fprintf(&b, "    {user: %q, password: %s\n", u.Name, value)
		}
		b.WriteString("     permissions: {\n")
		writeSubjects(&b, "publish", u.Publish)
		writeSubjects(&b, "subscribe", u.Subscribe)
		b.WriteString("     }}\n")
	}
	b.WriteString("  ]\n}\n")
	_, err := io.WriteString(out, b.String())
	return err
}

func writeSubjects(b *strings.Builder, verb string, subjects []string) {
	fmt.Fprintf(b, "       %s: {allow: [\n", verb)
	for _, s := range subjects {
		b.WriteString("         " + strconv.Quote(s) + "\n")
	}
	b.WriteString("       ]}\n")
}

func writeNSC(out io.Writer, users []plan.User, _ string) error {
	var b strings.Builder
	b.WriteString("# Made by millrace nats-permissions: users of the account that nsc works on.\n")
	for _, u := range users {
		fmt.Fprintf(&b, "nsc add user --name '%s' \\\n  --allow-pub '%s' \\\n  --allow-sub '%s'\n",
			u.Name, strings.Join(u.Publish, ","), strings.Join(u.Subscribe, ","))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func writeJSON(out io.Writer, users []plan.User, _ string) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false) // subjects end in >
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		Users []plan.User `json:"users"`
	}{users})
}
