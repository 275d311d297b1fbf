package config

import (
	"fmt"
	"path/filepath"
	"slices"
)

// ModelFile is a trained model that workers read from a file. The kubelet mounts the ConfigMap into their pods. The operator does not
// read it: the settings of the stage say which content it must have.
type ModelFile struct {
	// Name of the ConfigMap, in the namespace of the Pipeline, and the Key of the model in it.
	Name, Key string
	// File is the path of the model below the folder of models of a worker; the settings of the stage name it.
	File string
}

// NewModelFile is the value of a key of a ConfigMap, in a file that no other value has.
func NewModelFile(name, key string) ModelFile {
	return ModelFile{Name: name, Key: key, File: name + "/" + key}
}

// model is the model of the stage; nil = it has none.
func (c *StageConfig) model() *AnalyzeModel {
	if c.Analyze == nil || c.Analyze.Inference == nil {
		return nil
	}
	return c.Analyze.Inference.Model
}

// ModelFiles are the files with models that the settings of the stage, and of those chained to it, name.
func (c *StageConfig) ModelFiles() (files []string) {
	if m := c.model(); m != nil {
		files = append(files, m.File)
	}
	for i := range c.Chain {
		files = append(files, c.Chain[i].ModelFiles()...)
	}
	return files
}

// ModelsIn has the settings name the files with models below dir. What starts a worker decides where they are mounted. A config that c was copied from
// stays as it is.
func (c *StageConfig) ModelsIn(dir string) {
	if m := c.model(); m != nil {
		analyze, inference, model := *c.Analyze, *c.Analyze.Inference, *m
		model.File = filepath.Join(dir, model.File)
		inference.Model, analyze.Inference, c.Analyze = &model, &inference, &analyze
	}
	c.Chain = slices.Clone(c.Chain)
	for i := range c.Chain {
		c.Chain[i].ModelsIn(dir)
	}
}

// checkModelFiles refuses files that are not below the folder of models.
func checkModelFiles(files []string) error {
	for _, file := range files {
		if !filepath.IsLocal(file) {
			return fmt.Errorf("%q is no file below the folder of models", file)
		}
	}
	return nil
}
