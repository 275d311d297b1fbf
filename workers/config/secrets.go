package config

import (
	"fmt"
	"path/filepath"
)

// SecretFile is one value of a Secret that workers read from a file. The kubelet mounts the Secret into their pods. The operator does
// not read it, and no config holds what is in it.
type SecretFile struct {
	// Name of the Secret, in the namespace of the Pipeline, and the Key of the value in it.
	Name, Key string
	// File is the path of the value below the folder of secrets of a worker; the settings of the stage name it.
	File string
}

// NewSecretFile is the value of a key of a Secret, in a file that no other value has.
func NewSecretFile(name, key string) SecretFile {
	return SecretFile{Name: name, Key: key, File: name + "/" + key}
}

// SecretFiles are the files with secrets that the settings of the stage, and of those chained to it, name.
func (c *StageConfig) SecretFiles() []string {
	var files []string
	c.eachSecretFile(Kind.Traits, func(file *string) { files = append(files, *file) })
	return files
}

// SecretsIn has the settings name the files with secrets below dir. What starts a worker decides where they are mounted.
func (c *StageConfig) SecretsIn(dir string) {
	c.eachSecretFile(Kind.Traits, func(file *string) { *file = filepath.Join(dir, *file) })
}

func (c *StageConfig) eachSecretFile(traits func(Kind) Traits, visit func(*string)) {
	if find := traits(c.Kind).secretFiles; find != nil {
		for _, file := range find(c) {
			visit(file)
		}
	}
	for i := range c.Chain {
		c.Chain[i].eachSecretFile(traits, visit)
	}
}

// checkSecretFiles refuses files that are not below the folder of secrets.
func checkSecretFiles(files []string) error {
	for _, file := range files {
		if !filepath.IsLocal(file) {
			return fmt.Errorf("%q is no file below the folder of secrets", file)
		}
	}
	return nil
}
