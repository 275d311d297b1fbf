package stagetest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"millrace.dev/millrace/workers/config"
)

// MountSecrets has the files with secrets that the settings of c name lie in a folder of the test, each with 31 bytes in it.
func MountSecrets(t testing.TB, c *config.StageConfig) {
	t.Helper()
	c.SecretsIn(t.TempDir())
	for _, file := range c.SecretFiles() {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("of 31 bytes, as a key has to be"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}
