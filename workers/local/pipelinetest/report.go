package pipelinetest

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Report is what -o json prints.
type Report struct {
	Passed int      `json:"passed"`
	Failed int      `json:"failed"`
	Tests  []Result `json:"tests"`
}

func reportOf(results []Result) Report {
	r := Report{Tests: results}
	for _, t := range results {
		if t.Passed {
			r.Passed++
		} else {
			r.Failed++
		}
	}
	return r
}

func (r *Report) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// print writes one result as people read it. Passed tests take a line.
func (r *Result) print(w io.Writer) {
	verdict := "ok  "
	if !r.Passed {
		verdict = "FAIL"
	}
	fmt.Fprintf(w, "%s %s: %s (%.2fs)\n", verdict, r.File, r.Name, r.Seconds)
	for _, line := range r.lines() {
		fmt.Fprintln(w, "    "+line)
	}
}

// lines say what failed.
func (r *Result) lines() (lines []string) {
	for _, f := range r.Failed {
		lines = append(lines, fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.Path, f.Message))
		for _, d := range f.Details {
			lines = append(lines, "  "+d)
		}
	}
	if r.Error != "" {
		lines = append(lines, strings.Split(r.Error, "\n")...)
	}
	return lines
}

// The elements of JUnit XML, as CI systems read them.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		File    string        `xml:"file,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitFailure `xml:"failure"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// junit writes the results as JUnit XML, a suite for each file.
func (r *Report) junit(w io.Writer) error {
	all := junitSuites{Tests: len(r.Tests), Failures: r.Failed}
	var seconds float64
	for _, t := range r.Tests {
		if n := len(all.Suites); n == 0 || all.Suites[n-1].Name != t.File {
			all.Suites, seconds = append(all.Suites, junitSuite{Name: t.File}), 0
		}
		s := &all.Suites[len(all.Suites)-1]
		c := junitCase{Class: t.File, Name: t.Name, File: t.File, Time: inSeconds(t.Seconds)}
		if !t.Passed {
			lines := t.lines()
			c.Failure = &junitFailure{Message: lines[0], Text: strings.Join(lines, "\n")}
			s.Failures++
		}
		seconds += t.Seconds
		s.Tests++
		s.Time, s.Cases = inSeconds(seconds), append(s.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func inSeconds(s float64) string { return strconv.FormatFloat(s, 'f', 3, 64) }
