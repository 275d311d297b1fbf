package call

import (
	"os"
	"strings"
)

// Secret reads the value of a Secret from its file. Blanks around it, such as the line end that an editor adds, are not part of it.
func Secret(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(content)), nil
}
