// Package config is a test case.
package config
