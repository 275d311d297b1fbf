package progress

import (
	"slices"
	"strconv"
	"strings"
)

// Output is what the header of an output says of the step that it is of.
type Output struct {
	// Number tells the outputs of one owner apart.
	Number uint64
	// Since is the stream sequence of the last output on the subject that is not of the step; 0 = there is none.
	Since uint64
	// Items are what the output holds.
	Items *Items
	// Ports are the names of the ports of the stage, in the order of their numbers.
	Ports []string
	// Done is up to where everything was done when the step began.
	Done []Position
}

// Append encodes o as text for a header.
func (o *Output) Append(b []byte, places []Place) []byte {
	b = append(strconv.AppendUint(b, o.Number, 10), ' ')
	b = append(strconv.AppendUint(b, o.Since, 10), ' ')
	b = append(o.Items.Append(b), ' ')
	b = appendInputs(b, places)
	if o.Items.ported { // else nobody asks for them
		b = append(append(b, ';'), strings.Join(o.Ports, ",")...)
	}
	return AppendReach(append(b, ' '), places, o.Done)
}

// appendInputs names the inputs that the items count: the next worker may have others, and in another order.
func appendInputs(b []byte, places []Place) []byte {
	for i, p := range places {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, p.String()...)
	}
	return b
}

// parsePorts returns for each port of the writer which of ports it is, or -1.
func parsePorts(text string, ports []string) (numbers []int) {
	for name := range strings.SplitSeq(text, ",") {
		if len(numbers) == 64 { // a set has no more
			break
		}
		numbers = append(numbers, slices.Index(ports, name))
	}
	return numbers
}

// parseInputs returns for each input of the writer which of places it is, or -1.
func parseInputs(text string, places []Place) (inputs []int) {
	for name := range strings.SplitSeq(text, ",") {
		inputs = append(inputs, slices.IndexFunc(places, func(p Place) bool { return p.String() == name }))
	}
	return inputs
}

// ParseOutput decodes what Append wrote, for a reader whose inputs are places and whose stage has ports; nil when it cannot be
// read, as of a release that does not write it.
func ParseOutput(text string, places []Place, ports []string) *Output {
	number, rest, _ := strings.Cut(text, " ")
	since, rest, _ := strings.Cut(rest, " ")
	items, rest, _ := strings.Cut(rest, " ")
	inputs, done, _ := strings.Cut(rest, " ")
	inputs, named, _ := strings.Cut(inputs, ";")
	o := Output{Ports: ports}
	var err1, err2, err3 error
	o.Number, err1 = strconv.ParseUint(number, 10, 64)
	o.Since, err2 = strconv.ParseUint(since, 10, 64)
	o.Items, err3 = ParseItems(items)
	if err1 != nil || err2 != nil || err3 != nil {
		return nil
	}
	o.Items.renumber(parseInputs(inputs, places), parsePorts(named, ports))
	o.Done = ParseReach(done, places)
	return &o
}

// ReadOutput decodes what Append wrote, for a reader that does not know the inputs: they are numbered as in places. Ports of items are
// not read. nil when it cannot be read.
func ReadOutput(text string) (o *Output, places []Place) {
	fields := strings.SplitN(text, " ", 5)
	if len(fields) < 4 {
		return nil, nil
	}
	inputs, _, _ := strings.Cut(fields[3], ";")
	for name := range strings.SplitSeq(inputs, ",") {
		places = append(places, readPlace(name))
	}
	return ParseOutput(text, places, nil), places
}
