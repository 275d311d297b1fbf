package generator

import (
	"bytes"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event/cloudevent"
)

// encode writes the events: half of them as structured CloudEvents, half as native JSON, of
// which some use the names that programs use (message, timestamp, severity).
func (s *script) encode(t *Truth) [][]byte {
	lines := make([][]byte, len(s.events))
	for i, e := range s.events {
		form, encode := "cloudevent", structured
		switch {
		case e.GetType() == "app.log" && s.chance(3):
			form, encode = "native-alias", aliased
		case s.chance(2):
			form, encode = "native", native
		}
		lines[i] = encode(e)
		t.Forms[form]++
	}
	return lines
}

// structured is a CloudEvent with the typed members in data.
func structured(e *eventv1.Event) []byte { return cloudevent.AppendProto(nil, e) }

// native is the CloudEvent with the members of data at the top.
func native(e *eventv1.Event) []byte {
	b := structured(e)
	b = bytes.Replace(b, []byte(`"specversion":"1.0",`), nil, 1)
	b = bytes.Replace(b, []byte(`,"datacontenttype":"application/json","dataschema":"`+cloudevent.DataSchema+`"`), nil, 1)
	// data is the last member, and every event has typed members.
	at := bytes.Index(b, []byte(`,"data":{`))
	return append(append(b[:at:at], ','), b[at+len(`,"data":{`):len(b)-1]...)
}

// aliased is native with the names that logging libraries use.
func aliased(e *eventv1.Event) []byte {
	b := native(e)
	b = bytes.Replace(b, []byte(`"time":`), []byte(`"timestamp":`), 1)
	b = bytes.Replace(b, []byte(`"body":`), []byte(`"message":`), 1)
	at := bytes.Index(b, []byte(`"severitynumber":`))
	end := at + bytes.IndexByte(b[at:], ',') + 1
	b = append(b[:at:at], b[end:]...)
	return bytes.Replace(b, []byte(`"severitytext":`), []byte(`"severity":`), 1)
}
