package config

import (
	"slices"
	"strings"
	"testing"
)

// writing is a table of kinds in which validate reads the files that its required attributes name. No kind of today reads any.
func writing(k Kind) Traits {
	t := k.Traits()
	if k == KindValidate {
		t.secretFiles = func(c *StageConfig) (files []*string) {
			for i := range c.Validate.RequiredAttributes {
				files = append(files, &c.Validate.RequiredAttributes[i])
			}
			return files
		}
	}
	return t
}

// The files of a stage and of those chained to it are below the folder where they are mounted.
func TestSecretFilesOfAWorker(t *testing.T) {
	reads := func(files ...string) StageConfig {
		return StageConfig{Kind: KindValidate, Validate: &Validate{RequiredAttributes: files}}
	}
	c := reads(NewSecretFile("archive", "password").File)
	c.Chain = []StageConfig{{Kind: KindEnrich, Enrich: &Enrich{}}, reads("archive/user", "archive/ca.crt")}
	var got []string
	c.eachSecretFile(writing, func(file *string) {
		got = append(got, *file)
		*file = "/secrets/" + *file
	})
	if want := []string{"archive/password", "archive/user", "archive/ca.crt"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := c.Chain[1].Validate.RequiredAttributes[1]; got != "/secrets/archive/ca.crt" {
		t.Errorf("the settings name %s", got)
	}
}

func TestSecretFilesStayInTheirFolder(t *testing.T) {
	for name, tc := range map[string]struct {
		files []string
		want  string
	}{
		"none":      {nil, ""},
		"below":     {[]string{"archive/dsn", "archive/..data/x"}, ""},
		"absolute":  {[]string{"archive/dsn", "/etc/passwd"}, `"/etc/passwd" is no file below the folder of secrets`},
		"above":     {[]string{"a/../../x"}, `"a/../../x" is no file`},
		"not named": {[]string{""}, `"" is no file`},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkSecretFiles(tc.files)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
