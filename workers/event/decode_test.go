package event_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/event/internal/wire"
)

func contentType(ct string) map[string][]string { return map[string][]string{"Content-Type": {ct}} }

// TestForms: what headers and bytes make of a message. want lists the ids of the events,
// and ! for each failure, in the order of their index.
func TestForms(t *testing.T) {
	block := frameOf(t, &eventv1.Event{Id: "f1"}, &eventv1.Event{Id: "f2"})
	for name, c := range map[string]struct {
		header map[string][]string
		data   string
		want   string
		form   event.Form
	}{
		"object":                     {nil, `{"id":"a"}`, "a", event.FormJSON},
		"object, spaced":             {nil, " \r\n {\"id\":\"a\"}\n\n", "a", event.FormJSON},
		"pretty object":              {nil, "{\n  \"id\":\n  \"a\"\n}\n", "a", event.FormJSON},
		"array":                      {nil, `[{"id":"a"},{"id":"b"}]`, "a b", event.FormElement},
		"empty array":                {nil, `[]`, "", 0},
		"lines":                      {nil, "{\"id\":\"a\"}\n{\"id\":\"b\"}\r\n\n{\"id\":\"c\"}", "a b c", event.FormLine},
		"lines, first broken":        {nil, "{\"id\":\n{\"id\":\"b\"}\n", "! b", event.FormLine},
		"lines, one broken":          {nil, "{\"id\":\"a\"}\nnope\n{\"id\":\"c\"}\n", "a ! c", event.FormLine},
		"broken pretty object":       {nil, "{\n  \"id\": \"a\",\n}\n", "!", 0},
		"one whole line in it":       {nil, "\n{\n  \"related\": [\n    {\"kind\":\"Pod\",\"name\":\"p\"}\n  ],\n  \"source\": \"s\n}\n", "!", 0},
		"two objects on a line":      {nil, `{"id":"a"}{"id":"b"}`, "a b", event.FormLine},
		"pretty objects":             {nil, "{\n  \"id\": \"a\"\n}\n{\n  \"id\": \"b\"\n}\n", "a b", event.FormLine},
		"pretty objects, one broken": {nil, "{\n  \"id\": \"a\",\n}\n{\n  \"id\": \"b\"\n}\n", "! b", event.FormLine},
		"object, then an array":      {nil, "{\"id\":\"a\"}\n[{\"id\":\"b\"},\n {\"id\":\"c\"}]\n", "a b c", event.FormLine},
		"object, marked":             {nil, "\uFEFF{\"id\":\"a\"}", "a", event.FormJSON},
		"structured, marked":         {contentType("application/cloudevents+json"), "\uFEFF{\"id\":\"a\"}", "a", event.FormJSON},
		"lines, marked":              {nil, "\uFEFF{\"id\":\"a\"}\r\n{\"id\":\"b\"}\r\n", "a b", event.FormLine},
		"ndjson, each line marked":   {contentType("application/x-ndjson"), "\uFEFF{\"id\":\"a\"}\n\uFEFF{\"id\":\"b\"}\n\uFEFF", "a b", event.FormLine},
		"array, marked":              {nil, "\uFEFF[{\"id\":\"a\"}]", "a", event.FormElement},
		"batch, marked":              {contentType("application/cloudevents-batch+json"), "\uFEFF[{\"id\":\"a\"}]", "a", event.FormElement},
		"batch with a bare NaN":      {nil, `[{"id":"a"},{"id":"b","x":NaN},{"id":"c"},{"id":"d","x":[-Infinity]},{"id":"e"}]`, "a ! c ! e", event.FormElement},
		"batch, first one broken":    {nil, `[{"id":"a","x":undefined},{"id":"b"}]`, "! b", event.FormElement},
		"batch, comma missing":       {nil, `[{"id":"a" "x":"}]"},{"id":"b"}]`, "! b", event.FormElement},
		"batch, quote missing":       {nil, `[{"id":"a"},{"id":"b},{"id":"c"}]`, "a !", event.FormElement},
		"batch, brace missing":       {nil, `[{"id":"a"},{"id":"b","e":{"x":1},{"id":"c"}]`, "a !", event.FormElement},
		"frame":                      {contentType(event.ContentTypeFrame), block, "f1 f2", event.FormFrame},
		"frame, sniffed":             {nil, block, "f1 f2", event.FormFrame},
		"frame type, not a frame":    {contentType(event.ContentTypeFrame), `{"id":"a"}`, "!", 0},
		"type in upper case":         {map[string][]string{"CONTENT-TYPE": {"APPLICATION/X-NDJSON"}}, "{\"id\":\"a\"}\n{", "a !", event.FormLine},
		"ndjson, one line":           {contentType("application/x-ndjson; charset=utf-8"), `{"id":"a"}`, "a", event.FormLine},
		"ndjson, first broken":       {contentType("application/x-ndjson"), "{\"id\":\n{\"id\":\"b\"}\n", "! b", event.FormLine},
		"ndjson, nothing":            {contentType("application/x-ndjson"), "\n\n", "", 0},
		"structured":                 {contentType("application/cloudevents+json"), `{"specversion":"1.0","id":"a"}`, "a", event.FormJSON},
		"structured, lines":          {contentType("application/cloudevents+json"), "{\"id\":\"a\"}\n{\"id\":\"b\"}", "a b", event.FormLine},
		"batch, not an array":        {contentType("application/cloudevents-batch+json"), `{"id":"a"}`, "!", 0},
		"batch, broken":              {contentType("application/cloudevents-batch+json"), `[{"id":"a"},{"id":`, "a !", event.FormElement},
		"batch, broken at once":      {contentType("application/cloudevents-batch+json"), `[{"id":`, "!", 0},
		"batch, more behind":         {contentType("application/cloudevents-batch+json"), `[{"id":"a"}] x`, "a !", event.FormElement},
		"plain JSON type":            {contentType("application/json"), `{"id":"a"}`, "a", event.FormJSON},
		"JSON type, lines":           {contentType("application/json; charset=utf-8"), "{\"id\":\"a\"}\n{\"id\":\"b\"}", "a b", event.FormLine},
		"other type":                 {contentType("text/plain"), `{"id":"a"}`, "a", event.FormJSON},
		"other type, lines":          {contentType("text/plain"), "{\"id\":\"a\"}\n{\"id\":\"b\"}", "a b", event.FormLine},
		"binary":                     {map[string][]string{"ce-id": {"a"}, "Ce-Specversion": {"1.0"}}, "anything", "a", event.FormBinary},
		"binary, other version":      {map[string][]string{"ce-id": {"a"}, "ce-specversion": {"0.3"}}, "", "!", 0},
		"binary, structured type":    {map[string][]string{"ce-id": {"x"}, "Content-Type": {"application/cloudevents+json"}}, `{"id":"a"}`, "a", event.FormJSON},
		"headers of something else":  {map[string][]string{"Nats-Msg-Id": {"x"}, "ce-": {"x"}}, `{"id":"a"}`, "a", event.FormJSON},
		"text":                       {nil, "hello", "!", 0},
		"number":                     {nil, "17", "!", 0},
		"nothing":                    {nil, "", "!", 0},
		"white space":                {nil, " \n", "!", 0},
		"bytes":                      {nil, "\x00\x01\x02", "!", 0},
		"elements that are no event": {nil, `[1,null,"x",[],{"id":"a"}]`, "! ! ! ! a", event.FormElement},
	} {
		t.Run(name, func(t *testing.T) {
			events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Header: c.header, Data: []byte(c.data)})
			got := make([]string, len(events)+len(bad))
			for _, e := range events {
				got[e.Origin.Index] = e.ID
				if e.Form() != c.form {
					t.Errorf("form %s, want %s", e.Form(), c.form)
				}
			}
			for _, u := range bad {
				got[u.Index] = "!"
				if u.Err == nil || len(u.Raw) == 0 && c.data != "" {
					t.Errorf("failure without error or bytes: %+v", u)
				}
			}
			if got := strings.Join(got, " "); got != c.want {
				t.Errorf("decoded %q, want %q (%v)", got, c.want, bad)
			}
		})
	}
}

// TestMembers: one JSON object each, and the protobuf text of what it becomes.
func TestMembers(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"aliases":                  {`{"message":"m","timestamp":"2026-01-02T03:04:05Z","severity":"warning"}`, `body:"m" time_unix_nano:1767323045000000000 severity_number:13 severity_text:"warning"`},
		"aliases beside the thing": {`{"message":"m","body":"b","timestamp":"t","time":"2026-01-02T03:04:05Z"}`, `body:"b" time_unix_nano:1767323045000000000 attributes{key:"message" string_value:"m"} attributes{key:"timestamp" string_value:"t"}`},
		"alias beside null":        {`{"message":"m","body":null}`, `body:"m"`},
		"last of two aliases":      {`{"message":"first","message":"last","timestamp":"t","timestamp":"2026-01-02T03:04:05Z"}`, `body:"last" time_unix_nano:1767323045000000000`},
		"aliases of one thing":     {`{"trace_id":"x","traceId":"y","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}`, `attributes{key:"traceId" string_value:"y"} trace_id:"K\371/5w\263M\246\243\316\222\235\016\016G6"`},
		"null last":                {`{"id":"1","id":null,"message":"m","message":null,"metric":{"name":"m"},"metric":null,"type":"t","type":null,"type":"u"}`, `type:"u"`},
		"null last, beside alias":  {`{"message":"m","body":"b","body":null}`, `body:"m"`},
		"null":                     {`{"id":null,"metric":null,"x":null,"data":null,"entity":{"name":null}}`, `entity{}`},
		"severity number":          {`{"severity":17}`, `severity_number:17`},
		"severity number as text":  {`{"severity":"17"}`, `severity_number:17`},
		"severity of no meaning":   {`{"severity":"loud"}`, `severity_text:"loud"`},
		"severity beside exact":    {`{"severity":"bad","severitytext":"ERROR","severitynumber":18}`, `severity_text:"ERROR" severity_number:18 attributes{key:"severity" string_value:"bad"}`},
		"severity text alone":      {`{"severitytext":"FATAL"}`, `severity_text:"FATAL" severity_number:21`},
		"severity number wins":     {`{"severity":"info","severitynumber":17}`, `severity_number:17 severity_text:"info"`},
		"severity number 0":        {`{"severity":"error","severitynumber":0}`, `severity_number:17 severity_text:"error"`},
		"severity number 0, text":  {`{"severityNumber":"0","severityText":"warn"}`, `severity_number:13 severity_text:"warn"`},
		"severity number twice":    {`{"severitynumber":0,"severity":17}`, `severity_number:17`},
		"last of two":              {`{"id":"a","id":"b","entity":{"name":"x","kind":"Pod"},"entity":{"name":"y"}}`, `id:"b" entity{name:"y"}`},
		"extensions":               {`{"zone":"eu","n":5,"ok":true}`, `extensions{key:"zone" string_value:"eu"} extensions{key:"n" int_value:5} extensions{key:"ok" bool_value:true}`},
		"not an extension":         {`{"user_id":"u","Zone":"eu","big":2147483648,"d":1.5,"o":{"a": 1},"l":[1]}`, `attributes{key:"user_id" string_value:"u"} attributes{key:"Zone" string_value:"eu"} attributes{key:"big" int_value:2147483648} attributes{key:"d" double_value:1.5} attributes{key:"o" string_value:"{\"a\": 1}"} attributes{key:"l" string_value:"[1]"}`},
		"numbers":                  {`{"attributes":{"i":9223372036854775807,"m":-9223372036854775808,"f":1e3,"z":0.0,"u":9223372036854775808,"h":1e999}}`, `attributes{key:"i" int_value:9223372036854775807} attributes{key:"m" int_value:-9223372036854775808} attributes{key:"f" double_value:1000} attributes{key:"z" double_value:0} attributes{key:"u" string_value:"9223372036854775808"} attributes{key:"h" string_value:"1e999"}`},
		"unknown inside":           {`{"metric":{"name":"m","labels":{"a":"b"},"extra":1},"related":[{"name":"n","x":true}]}`, `metric{name:"m"} related{name:"n"} attributes{key:"metric.labels" string_value:"{\"a\":\"b\"}"} attributes{key:"metric.extra" int_value:1} attributes{key:"related.x" bool_value:true}`},
		"snake case":               {`{"kubernetes_event":{"reporting_controller":"kubelet"},"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}`, `kubernetes_event{reporting_controller:"kubelet"} trace_id:"K\371/5w\263M\246\243\316\222\235\016\016G6"`},
		"no W3C ids":               {`{"traceid":"123","spanId":"xx","traceparent":"00-0-0-00"}`, `attributes{key:"traceid" string_value:"123"} attributes{key:"spanId" string_value:"xx"} attributes{key:"traceparent" string_value:"00-0-0-00"}`},
		"body that is no text":     {`{"body":{"a":[1]}}`, `body:"{\"a\":[1]}"`},
		"scalars as text":          {`{"id":17,"source":true}`, `id:"17" source:"true"`},
		"numbers as text":          {`{"count":"3","network":{"bytesSent":"18446744073709551615","sourcePort":"80"}}`, `count:3 network{bytes_sent:18446744073709551615 source_port:80}`},
		"two signals":              {`{"metric":{"name":"m"},"span":{"name":"s"}}`, `metric{name:"m"} attributes{key:"span" string_value:"{\"name\":\"s\"}"}`},
		"a signal twice":           {`{"metric":{"name":"m"},"metric":{"unit":"u"}}`, `metric{unit:"u"}`},
		"a signal and data":        {`{"metric":{"name":"m"},"data":{"span":{"name":"s"}}}`, `metric{name:"m"} data:"{\"span\":{\"name\":\"s\"}}"`},
		"infinity":                 {`{"metric":{"value":"-Infinity"}}`, `metric{value:-inf}`},
		"escapes":                  {`{"\u0069d":"\u0061\n\"","attributes":{"k\t":"\ud83d\ude00"}}`, `id:"a\n\"" attributes{key:"k\t" string_value:"😀"}`},
		"correlation":              {`{"correlationid":"c","causationid":"d","correlation":{"incidentId":"i","links":[{"eventId":"e","deltaNs":-7}]}}`, `correlation{correlation_id:"c" causation_id:"d" incident_id:"i" links{event_id:"e" delta_ns:-7}}`},
		"data kept":                {`{"data":{ "order": 1 }}`, `data:"{ \"order\": 1 }"`},
		"data like typed members":  {`{"data":{"body":"b","count":2}}`, `data:"{\"body\":\"b\",\"count\":2}"`},
		"data that says one":       {`{"data":{"count":1}}`, `data:"{\"count\":1}"`},
		"data almost typed":        {`{"data":{"body":"b","other":2}}`, `data:"{\"body\":\"b\",\"other\":2}"`},
		"data with an alias":       {`{"data":{"message":"b"}}`, `data:"{\"message\":\"b\"}"`},
		"data of another type":     {`{"data":{"count":"2"}}`, `data:"{\"count\":\"2\"}"`},
		"data of 64 bits as text":  {`{"data":{"network":{"bytesSent":"12"}}}`, `data:"{\"network\":{\"bytesSent\":\"12\"}}"`},
		"data of 64 bits":          {`{"dataschema":"https://millrace.dev/event/v1","data":{"network":{"bytesSent":18446744073709551615}}}`, `network{bytes_sent:18446744073709551615}`},
		"data that says zero":      {`{"data":{"count":0}}`, `data:"{\"count\":0}"`},
		"data that says zero too":  {`{"data":{"body":"b","count":0}}`, `data:"{\"body\":\"b\",\"count\":0}"`},
		"data of empty text":       {`{"data":{"fingerprint":""}}`, `data:"{\"fingerprint\":\"\"}"`},
		"data of an empty object":  {`{"data":{"resource":{}}}`, `data:"{\"resource\":{}}"`},
		"data of an empty list":    {`{"data":{"related":[]}}`, `data:"{\"related\":[]}"`},
		"data, zero inside":        {`{"dataschema":"https://millrace.dev/event/v1","data":{"metric":{"name":"m","value":0}}}`, `metric{name:"m"}`},
		"data of a part typed":     {`{"data":{"metric":{"name":"m","x":1}}}`, `data:"{\"metric\":{\"name\":\"m\",\"x\":1}}"`},
		"data beside typed":        {`{"body":"a","data":{"body":"b"}}`, `body:"a" data:"{\"body\":\"b\"}"`},
		"data with its schema":     {`{"dataschema":"urn:x","data":{"body":"b"}}`, `data_schema:"urn:x" data:"{\"body\":\"b\"}"`},
		"data, empty object":       {`{"data":{}}`, `data:"{}"`},
		"data, null inside":        {`{"data":{"body":null}}`, `data:"{\"body\":null}"`},
		"data, our schema":         {`{"datacontenttype":"application/json","dataschema":"https://millrace.dev/event/v1","data":{"body":"b","payload":{"datacontenttype":"text/plain","data":"x"}}}`, `body:"b" data_content_type:"text/plain" data:"x"`},
		"data, our schema, zero":   {`{"dataschema":"https://millrace.dev/event/v1","data":{"body":"b","count":0}}`, `body:"b"`},
		"data, our schema, odd":    {`{"dataschema":"https://millrace.dev/event/v1","data":{"body":"b","count":"few"}}`, `body:"b" attributes{key:"count" string_value:"few"}`},
		"data, our schema, null":   {`{"dataschema":"https://millrace.dev/event/v1","data":{"body":"b","entity":null}}`, `body:"b"`},
		"data, our schema, utf-8":  {`{"datacontenttype":"application/json; charset=utf-8","dataschema":"https://millrace.dev/event/v1","data":{"body":"b"}}`, `body:"b"`},
		"data, a later schema":     {`{"dataschema":"https://millrace.dev/event/v1","data":{"body":"b","new":1}}`, `data_schema:"https://millrace.dev/event/v1" data:"{\"body\":\"b\",\"new\":1}"`},
		"payload is a plain name":  {`{"payload":"p"}`, `extensions{key:"payload" string_value:"p"}`},
		"text data":                {`{"datacontenttype":"text/plain","data":"a\nb"}`, `data_content_type:"text/plain" data:"a\nb"`},
		"JSON text data":           {`{"datacontenttype":"application/json","data":"a"}`, `data_content_type:"application/json" data:"\"a\""`},
		"base64":                   {`{"data_base64":"AAEC"}`, `data:"\000\001\002"`},
	} {
		t.Run(name, func(t *testing.T) {
			want := &eventv1.Event{}
			if err := prototext.Unmarshal([]byte(c.want), want); err != nil {
				t.Fatal(err)
			}
			got, err := one(t, decode.Message{Data: []byte(c.in)})[0].ToProto()
			if err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

// TestSeverityNumberZeroInHeaders: a severity number of 0 is none in headers too.
func TestSeverityNumberZeroInHeaders(t *testing.T) {
	e := one(t, decode.Message{Header: map[string][]string{"ce-id": {"1"}, "ce-severitynumber": {"0"}, "ce-severitytext": {"error"}}})[0]
	if e.Severity != 17 {
		t.Errorf("severity %d, want 17", e.Severity)
	}
}

func TestErrorsNameTheMember(t *testing.T) {
	for in, want := range map[string]string{
		`{"specversion":"0.3"}`:                 `member "specversion" at offset 15: CloudEvents "0.3" is not supported, only 1.0`,
		`{"a":"b\x"}`:                           `JSON, offset 7: not an escape that JSON knows`,
		"{\"a\":\"b\xff\"}":                     `JSON, offset 7: not valid UTF-8`,
		`{"a":1 "b":2}`:                         `JSON, offset 7: '"' where ',' or '}' should stand`,
		`{"a":`:                                 `JSON, offset 5: the text ends where a value should stand`,
		`{"a":` + strings.Repeat("[", 64) + "1": `JSON, offset 68: nested deeper than 64: larger than the limit`,
		`{"a":NaN}`:                             `JSON, offset 5: 'N' where a value should stand`,
		"hello":                                 `neither JSON, which begins with { or [, nor a frame: it begins with "hello"`,
		"\x00\x01":                              `neither JSON, which begins with { or [, nor a frame: it begins with the bytes 00 01`,
		"\uFEFFhello":                           `neither JSON, which begins with { or [, nor a frame: it begins with the bytes ef bb bf 68`,
		"\xff\xfe{\x00}\x00":                    `it is UTF-16 text: convert it to UTF-8`,
		"{\x00}\x00":                            `it is UTF-16 text: convert it to UTF-8`,
		"\x1f\x8b\x08\x00":                      `it is compressed with gzip: decompress it`,
		`[{"id":"b}]`:                           `where the next event begins cannot be told, so this is all the rest of the array`,
	} {
		events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: []byte(in)})
		if len(events) != 0 || len(bad) != 1 {
			t.Errorf("%s: %d events, failures %v; want one failure", in, len(events), bad)
			continue
		}
		if got := bad[0].Err.Error(); !strings.Contains(got, want) {
			t.Errorf("%s\n got: %s\nwant: %s", in, got, want)
		}
	}
}

// TestOddDetails: one member that cannot be read costs nothing but itself: it is kept as an
// attribute with its name. One case at least for each kind of field that the JSON form has.
func TestOddDetails(t *testing.T) {
	const at = "time_unix_nano:1767607200000000000"
	for name, c := range map[string]struct{ in, want string }{
		"id, an object":             {`{"id":{}}`, `attributes{key:"id" string_value:"{}"}`},
		"source, a list":            {`{"source":[1]}`, `attributes{key:"source" string_value:"[1]"}`},
		"specversion, a number":     {`{"specversion":1.0,"id":"1"}`, `id:"1"`},
		"time not set, Go":          {`{"timestamp":"0001-01-01T00:00:00Z"}`, `attributes{key:"timestamp" string_value:"0001-01-01T00:00:00Z"}`},
		"time not set, .NET":        {`{"time":"9999-12-31T23:59:59Z"}`, `attributes{key:"time" string_value:"9999-12-31T23:59:59Z"}`},
		"time, empty":               {`{"time":""}`, `attributes{key:"time" string_value:""}`},
		"time, zero":                {`{"time":0}`, `attributes{key:"time" int_value:0}`},
		"time, words":               {`{"time":"yesterday","observedtime":"today","ingesttime":true}`, `attributes{key:"time" string_value:"yesterday"} attributes{key:"observedtime" string_value:"today"} attributes{key:"ingesttime" bool_value:true}`},
		"time, a date as a number":  {`{"time":20260105}`, `attributes{key:"time" int_value:20260105}`},
		"time without a zone":       {`{"time":"2026-01-05T11:00:00"}`, `attributes{key:"time" string_value:"2026-01-05T11:00:00"}`},
		"offset without colon":      {`{"time":"2026-01-05T11:00:00+0100"}`, at},
		"offset of hours":           {`{"time":"2026-01-05T11:00:00+01"}`, at},
		"epoch, seconds":            {`{"time":1767607200}`, at},
		"epoch, milliseconds":       {`{"time":1767607200000}`, at},
		"epoch, microseconds":       {`{"time":1767607200000000}`, at},
		"epoch, nanoseconds":        {`{"time":1767607200000000000}`, at},
		"epoch, fraction":           {`{"time":1767607200.123}`, `time_unix_nano:1767607200123000000`},
		"epoch, text":               {`{"time":"1767607200123"}`, `time_unix_nano:1767607200123000000`},
		"epoch, text of a fraction": {`{"time":"1767607200.5"}`, `time_unix_nano:1767607200500000000`},
		"severity number 25":        {`{"severitynumber":25,"severitytext":"ERROR"}`, `severity_text:"ERROR" severity_number:17 attributes{key:"severitynumber" int_value:25}`},
		"severity number, a word":   {`{"severitynumber":"high","severity":"warn"}`, `severity_text:"warn" severity_number:13 attributes{key:"severitynumber" string_value:"high"}`},
		"severity text, a list":     {`{"severitytext":[]}`, `attributes{key:"severitytext" string_value:"[]"}`},
		"severity, an object":       {`{"severity":{"level":1}}`, `attributes{key:"severity" string_value:"{\"level\":1}"}`},
		"severity of another scale": {`{"severity":40}`, `attributes{key:"severity" int_value:40}`},
		"partition key, an object":  {`{"partitionkey":{}}`, `attributes{key:"partitionkey" string_value:"{}"}`},
		"trace, no text":            {`{"traceparent":17,"traceid":true,"spanid":{},"parentspanid":"zz","tracestate":[]}`, `attributes{key:"traceparent" int_value:17} attributes{key:"traceid" bool_value:true} attributes{key:"spanid" string_value:"{}"} attributes{key:"parentspanid" string_value:"zz"} attributes{key:"tracestate" string_value:"[]"}`},
		"correlation, objects":      {`{"correlationid":{},"causationid":[]}`, `attributes{key:"correlationid" string_value:"{}"} attributes{key:"causationid" string_value:"[]"}`},
		"count, a word":             {`{"count":"few"}`, `attributes{key:"count" string_value:"few"}`},
		"count, a fraction":         {`{"count":1.5}`, `attributes{key:"count" double_value:1.5}`},
		"count, negative":           {`{"count":-1}`, `attributes{key:"count" int_value:-1}`},
		"count, too large":          {`{"count":4294967296}`, `attributes{key:"count" int_value:4294967296}`},
		"fingerprint, an object":    {`{"fingerprint":{}}`, `attributes{key:"fingerprint" string_value:"{}"}`},
		"entity, a text":            {`{"entity":"pod/x"}`, `attributes{key:"entity" string_value:"pod/x"}`},
		"entity, a part of it":      {`{"entity":{"kind":"Pod","name":["a"]}}`, `entity{kind:"Pod"} attributes{key:"entity.name" string_value:"[\"a\"]"}`},
		"related, one object":       {`{"related":{"kind":"Node"}}`, `attributes{key:"related" string_value:"{\"kind\":\"Node\"}"}`},
		"related, elements":         {`{"related":[{"name":"a"},"b",null,{"name":[]}]}`, `related{name:"a"} related{} attributes{key:"related.1" string_value:"b"} attributes{key:"related.3.name" string_value:"[]"}`},
		"resource, a list":          {`{"resource":[],"attributes":"x"}`, `attributes{key:"resource" string_value:"[]"} attributes{key:"attributes" string_value:"x"}`},
		"signals that are names":    {`{"network":"wifi","log":"yes","span":1,"metric":{"name":"m","value":1}}`, `metric{name:"m" value:1} attributes{key:"network" string_value:"wifi"} attributes{key:"log" string_value:"yes"} attributes{key:"span" int_value:1}`},
		"metric that is no number":  {`{"metric":{"name":"m","value":"fast"}}`, `metric{name:"m" value:nan} attributes{key:"metric.value" string_value:"fast"}`},
		"metric of null":            {`{"metric":{"name":"m","value":null}}`, `metric{name:"m" value:nan}`},
		"metric beyond a double":    {`{"metric":{"name":"m","value":1e999}}`, `metric{name:"m" value:nan} attributes{key:"metric.value" string_value:"1e999"}`},
		"infinity, Prometheus":      {`{"metric":{"value":"+Inf"}}`, `metric{value:inf}`},
		"infinity, negative":        {`{"metric":{"value":"-Inf"}}`, `metric{value:-inf}`},
		"ports and counters":        {`{"network":{"sourcePort":4294967296,"bytesSent":"-1","protocol":{}}}`, `network{} attributes{key:"network.sourcePort" int_value:4294967296} attributes{key:"network.bytesSent" string_value:"-1"} attributes{key:"network.protocol" string_value:"{}"}`},
		"return code":               {`{"kernel":{"returnCode":1e300}}`, `kernel{} attributes{key:"kernel.returnCode" double_value:1e300}`},
		"hex":                       {`{"spanLinks":[{"traceId":"xyz"}]}`, `span_links{} attributes{key:"spanLinks.traceId" string_value:"xyz"}`},
		"time inside":               {`{"insight":{"firstSeen":"2026-01-02"}}`, `insight{} attributes{key:"insight.firstSeen" string_value:"2026-01-02"}`},
		"score":                     {`{"impact":{"score":"high","reasons":["a",{}]}}`, `impact{reasons:"a"} attributes{key:"impact.score" string_value:"high"} attributes{key:"impact.reasons.1" string_value:"{}"}`},
		"links, a text":             {`{"links":"x"}`, `attributes{key:"links" string_value:"x"}`},
		"both payloads":             {`{"data":1,"data_base64":"AA=="}`, `data:"1" attributes{key:"data_base64" string_value:"AA=="}`},
		"no base64":                 {`{"data_base64":"%"}`, `attributes{key:"data_base64" string_value:"%"}`},
		"content type, a list":      {`{"datacontenttype":[1],"dataschema":{},"data":1}`, `data:"1" attributes{key:"datacontenttype" string_value:"[1]"} attributes{key:"dataschema" string_value:"{}"}`},
	} {
		t.Run(name, func(t *testing.T) {
			want := &eventv1.Event{}
			if err := prototext.Unmarshal([]byte(c.want), want); err != nil {
				t.Fatal(err)
			}
			e := one(t, decode.Message{Data: []byte(c.in)})[0]
			same(t, "decoded", want, &e)
			out, err := cloudevent.Append(nil, &e)
			if err != nil {
				t.Fatal(err)
			}
			again := one(t, decode.Message{Data: out})[0]
			same(t, "written and read again", want, &again)
		})
	}
}

// TestModesDecideAlike: binary, structured and batch mode make the same event of the same attributes.
func TestModesDecideAlike(t *testing.T) {
	for _, c := range []struct{ name, value, data string }{
		{"network", "wifi", `{"n":1}`},
		{"log", "yes", ""},
		{"count", "few", ""},
		{"count", "5", ""},
		{"body", "text", `{"count":0}`},
		{"message", "text", `{"count":1}`},
		{"fingerprint", "f", `{"body":"b"}`},
		{"time", "0001-01-01T00:00:00Z", ""},
		{"time", "1767607200", ""},
		{"timestamp", "2026-01-05T11:00:00+0100", ""},
		{"severitynumber", "0", ""},
		{"severitynumber", "99", ""},
		{"severity", "error", ""},
		{"traceparent", "x", ""},
		{"links", "x", ""},
		{"correlationid", "c", ""},
		{"zone", "eu", `[1]`},
		{"dataschema", cloudevent.DataSchema, `{"body":"b","count":"few"}`},
		{"dataschema", "urn:x", `{"body":"b"}`},
	} {
		t.Run(c.name+"="+c.value, func(t *testing.T) {
			text := fmt.Sprintf(`{"specversion":"1.0","id":"1","source":"/s","type":"t",%q:%q`, c.name, c.value)
			if c.data != "" {
				text += `,"data":` + c.data
			}
			text += "}"
			header := map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"}, "ce-" + c.name: {c.value}}
			want, err := one(t, decode.Message{Data: []byte(text)})[0].ToProto()
			if err != nil {
				t.Fatal(err)
			}
			for mode, m := range map[string]decode.Message{
				"binary":     {Header: header, Data: []byte(c.data)},
				"structured": {Header: contentType(event.ContentTypeCloudEvent), Data: []byte(text)},
				"batch":      {Header: contentType(event.ContentTypeBatch), Data: []byte("[" + text + "]")},
			} {
				e := one(t, m)[0]
				same(t, mode, want, &e)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	lines := strings.Repeat("{\"id\":\"a\"}\n", 5)
	array := `[{"id":"1"},{"id":"2"},{"id":"3"},{"id":"4"},{"id":"5"}]`
	five := []*eventv1.Event{{Id: "1"}, {Id: "2"}, {Id: "3"}, {Id: "4"}, {Id: "5"}}
	long := `{"id":"` + strings.Repeat("x", 200) + `"}`
	// An event of 3 bytes that names a context of 40 bytes, and each of several contexts once.
	context := encoded(t, &eventv1.Event{Fingerprint: strings.Repeat("x", 37)})
	named := func(contexts int, refs ...uint32) string {
		f := &eventv1.Frame{Version: 1, Entries: []*eventv1.FrameEntry{{Event: &eventv1.Event{Id: "a"}, Contexts: refs}}}
		for range contexts {
			f.Contexts = append(f.Contexts, context)
		}
		return string(blockOf(t, f))
	}
	led := blockOf(t, &eventv1.Frame{Version: 1, Contexts: [][]byte{context}, Entries: []*eventv1.FrameEntry{{Event: &eventv1.Event{Id: "a"}, Lead: 1, Contexts: []uint32{0, 0}}}})
	for name, c := range map[string]struct {
		limits decode.Limits
		data   string
		events int
	}{
		"lines":                     {decode.Limits{MaxEvents: 4}, lines, 0},
		"lines, fit":                {decode.Limits{MaxEvents: 5}, lines, 5},
		"array":                     {decode.Limits{MaxEvents: 4}, array, 0},
		"array, fits":               {decode.Limits{MaxEvents: 5}, array, 5},
		"frame":                     {decode.Limits{MaxEvents: 4}, frameOf(t, five...), 0},
		"frame, fits":               {decode.Limits{MaxEvents: 5}, frameOf(t, five...), 5},
		"decoded":                   {decode.Limits{MaxDecoded: 10}, frameOf(t, five...), 0},
		"event":                     {decode.Limits{MaxEvent: 100}, long, 0},
		"event, fits":               {decode.Limits{MaxEvent: 300}, long, 1},
		"line":                      {decode.Limits{MaxEvent: 100}, lines + long, 5},
		"frame's event":             {decode.Limits{MaxEvent: 100}, frameOf(t, &eventv1.Event{Id: strings.Repeat("x", 200)}), 0},
		"contexts":                  {decode.Limits{MaxEvents: 4}, named(5, 0), 0},
		"contexts, fit":             {decode.Limits{MaxEvents: 4}, named(4, 0), 1},
		"context named often":       {decode.Limits{MaxEvent: 122}, named(1, 0, 0, 0), 0},
		"context named often, fits": {decode.Limits{MaxEvent: 123}, named(1, 0, 0, 0), 1},
		"lead and contexts":         {decode.Limits{MaxEvent: 122}, string(led), 0},
		"lead and contexts, fit":    {decode.Limits{MaxEvent: 123}, string(led), 1},
		"own event's contexts":      {decode.Limits{MaxEvent: 10, MaxDecoded: 122, Hints: true}, named(1, 0, 0, 0), 0},
		"own event's contexts, fit": {decode.Limits{MaxEvent: 10, MaxDecoded: 123, Hints: true}, named(1, 0, 0, 0), 1},
		"names":                     {decode.Limits{}, named(1, make([]uint32, 257)...), 0},
		"names, fit":                {decode.Limits{}, named(1, make([]uint32, 256)...), 1},
		"depth":                     {decode.Limits{MaxDepth: 3}, `{"a":[[[]]]}`, 0},
		"depth, fits":               {decode.Limits{MaxDepth: 3}, `{"a":[[]]}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			events, bad := decode.New(c.limits).Decode(nil, decode.Message{Data: []byte(c.data)})
			if len(events) != c.events {
				t.Errorf("%d events, want %d (%v)", len(events), c.events, bad)
			}
			if fits := strings.HasSuffix(name, "fits") || strings.HasSuffix(name, "fit"); fits != (len(bad) == 0) {
				t.Fatalf("failures: %v", bad)
			}
			for _, u := range bad {
				if !errors.Is(u.Err, wire.ErrTooLarge) {
					t.Errorf("error %v, want ErrTooLarge", u.Err)
				}
			}
		})
	}
}

// TestBomb: a small message that promises or holds much does not make the decoder hold it.
func TestBomb(t *testing.T) {
	huge := s2.Encode(nil, make([]byte, 100<<20))
	promise := append(protowire.AppendVarint(nil, 1<<31), 0)
	for name, data := range map[string][]byte{"zeros": huge, "promise": promise} {
		if _, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Header: contentType(event.ContentTypeFrame), Data: data}); len(bad) != 1 {
			t.Errorf("%s: failures %v, want one", name, bad)
		}
	}
}

// TestContextsOfManyEvents: a small frame whose events all name the same large context does not
// make the decoder hold it for each of them.
func TestContextsOfManyEvents(t *testing.T) {
	const maxDecoded = 1 << 20
	block := &eventv1.Frame{Version: 1, Contexts: [][]byte{encoded(t, &eventv1.Event{Data: make([]byte, 60<<10)})}}
	for range 1000 {
		block.Entries = append(block.Entries, &eventv1.FrameEntry{Event: &eventv1.Event{Id: "a"}, Contexts: make([]uint32, 8)})
	}
	events, bad := decode.New(decode.Limits{MaxDecoded: maxDecoded}).Decode(nil, decode.Message{Data: blockOf(t, block), Header: frameHeader})
	if len(events) != 8 || len(bad) != 992 || !errors.Is(bad[0].Err, wire.ErrTooLarge) {
		t.Fatalf("%d events, %d failures, want 8 and 992 (%v)", len(events), len(bad), bad[0].Err)
	}
	size := 0
	for i := range events {
		size += events[i].Size()
	}
	for i := range bad {
		plain, err := s2.Decode(nil, bad[i].Raw)
		if err != nil {
			t.Fatal(err)
		}
		size += len(plain)
	}
	if size > 5*maxDecoded {
		t.Errorf("events and failures have %d bytes, of a frame of at most %d", size, maxDecoded)
	}
}

// TestManyMembers: what an object costs grows with its size, not faster.
func TestManyMembers(t *testing.T) {
	const n = 60_000
	unknown := func(n int, format string) string {
		b := []byte(`{"id":"x"`)
		for i := range n {
			b = fmt.Appendf(b, format, i)
		}
		return string(b) + "}"
	}
	for name, line := range map[string]func(n int) string{
		"one name":         func(n int) string { return `{"id":"x"` + strings.Repeat(`,"id":"y"`, n) + `}` },
		"one alias":        func(n int) string { return `{"message":"x"` + strings.Repeat(`,"message":"y"`, n) + `}` },
		"attributes":       func(n int) string { return unknown(n, `,"A%d":1`) },
		"extensions":       func(n int) string { return unknown(n, `,"a%d":1`) },
		"one extension":    func(n int) string { return `{"zone":"x"` + strings.Repeat(`,"zone":"y"`, n) + `}` },
		"name, then null":  func(n int) string { return `{"id":"x"` + strings.Repeat(`,"id":null,"id":"y"`, n/2) + `}` },
		"resource, nested": func(n int) string { return `{"resource":{"a":"x"` + strings.Repeat(`,"a":"y"`, n) + `}}` },
	} {
		takes := func(n int) time.Duration {
			data := []byte(line(n))
			began := time.Now()
			if _, err := cloudevent.Append(nil, &one(t, decode.Message{Data: data})[0]); err != nil {
				t.Fatal(err)
			}
			return time.Since(began)
		}
		// Four times as many take four times as long. Squared, they would take sixteen times as long, and seconds.
		few, many := takes(n/4), takes(n)
		for range 2 { // a busy machine may slow down one of the two
			few, many = max(few, takes(n/4)), min(many, takes(n))
		}
		if many > 10*few && many > time.Second {
			t.Errorf("%s: %d of them take %s, %d take %s", name, n/4, few, n, many)
		}
	}
}

// TestGrownEvent: what the first stage takes the next ones take too, whatever was added.
func TestGrownEvent(t *testing.T) {
	line := `{"id":"1","source":"s","type":"t","body":"` + strings.Repeat("x", 1<<20-60) + `"}`
	events, bad := decode.New(decode.Limits{Lift: true}).Decode(nil, decode.Message{Data: []byte(line), Time: 7})
	if len(bad) > 0 {
		t.Fatal(bad[0].Err)
	}
	for hop := range 3 {
		events[0].AddResource("k8s.node.name", strings.Repeat("x", 100<<10))
		w := frame.Writer{Hints: true}
		w.Begin(frame.Header{})
		w.Add(&events[0])
		events, bad = decode.New(decode.Limits{Hints: true}).Decode(nil, decode.Message{Data: w.AppendTo(nil), Header: frameHeader})
		if len(bad) > 0 {
			t.Fatalf("hop %d: %v", hop, bad[0].Err)
		}
	}
}

// TestFailedEntryKeepsItsContexts: the dead letter of an entry is a frame with all that the entry
// says, and no more of the frame that it came in.
func TestFailedEntryKeepsItsContexts(t *testing.T) {
	lead, resource, other := encoded(t, &eventv1.Event{Source: "s", Type: "t"}), encoded(t, &eventv1.Event{Resource: []*eventv1.KeyValue{text("a", "b")}}), encoded(t, &eventv1.Event{Body: "other"})
	notUTF8 := []byte{0x0a, 0x01, 0xff}
	large := encoded(t, &eventv1.Event{Id: strings.Repeat("x", 200)})
	entry := func(raw, lead, refs []byte) []byte {
		b := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), raw)
		return append(append(b, refs...), lead...)
	}
	for name, c := range map[string]struct {
		entry    []byte
		want     []byte // the entry in the dead letter
		contexts [][]byte
	}{
		"malformed":             {[]byte{0x0a, 0x7f}, []byte{0x0a, 0x7f}, nil},
		"not UTF-8":             {entry(notUTF8, nil, nil), entry(notUTF8, nil, nil), nil},
		"not UTF-8, lead":       {entry(notUTF8, []byte{0x28, 2}, nil), entry(notUTF8, []byte{0x28, 1}, nil), [][]byte{lead}},
		"too large, all":        {entry(large, []byte{0x28, 2}, []byte{0x12, 3, 2, 1, 2}), entry(large, []byte{0x28, 1}, []byte{0x12, 3, 1, 0, 1}), [][]byte{lead, resource}},
		"a context not there":   {entry(nil, []byte{0x28, 3}, []byte{0x12, 2, 9, 2}), entry(nil, []byte{0x28, 1}, []byte{0x12, 2, 9, 0}), [][]byte{resource}},
		"a lead that is not":    {entry(nil, []byte{0x28, 9}, []byte{0x12, 1, 2}), entry(nil, []byte{0x28, 9}, []byte{0x12, 1, 0}), [][]byte{resource}},
		"contexts cut off":      {entry(nil, nil, []byte{0x12, 2, 2, 0x80}), entry(nil, nil, []byte{0x12, 2, 0, 0x80}), [][]byte{resource}},
		"fields of the future":  {entry(notUTF8, []byte{0x30, 7, 0x28, 2}, nil), entry(notUTF8, []byte{0x30, 7, 0x28, 1}, nil), [][]byte{lead}},
		"contexts not in a row": {entry(notUTF8, nil, []byte{0x10, 2, 0x12, 1, 1}), entry(notUTF8, nil, []byte{0x12, 2, 0, 1}), [][]byte{resource, lead}},
	} {
		t.Run(name, func(t *testing.T) {
			block := []byte{0x08, 1}
			for _, b := range [][]byte{other, lead, resource} {
				block = protowire.AppendBytes(protowire.AppendTag(block, 14, protowire.BytesType), b)
			}
			block = protowire.AppendBytes(protowire.AppendTag(block, 16, protowire.BytesType), c.entry)
			d := decode.New(decode.Limits{MaxEvent: 100})
			events, bad := d.Decode(nil, decode.Message{Data: s2.Encode(nil, block), Header: frameHeader})
			if len(events) != 0 || len(bad) != 1 || bad[0].ContentType != event.ContentTypeFrame {
				t.Fatalf("%d events, failures %v", len(events), bad)
			}
			want := []byte{0x08, 1, 0x10, 1}
			for _, b := range c.contexts {
				want = protowire.AppendBytes(protowire.AppendTag(want, 14, protowire.BytesType), b)
			}
			want = protowire.AppendBytes(protowire.AppendTag(want, 16, protowire.BytesType), c.want)
			got, err := s2.Decode(nil, bad[0].Raw)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if again, bad := d.Decode(nil, decode.Message{Data: bad[0].Raw, Header: frameHeader}); len(again) != 0 || len(bad) != 1 {
				t.Errorf("sent again: %d events, failures %v", len(again), bad)
			}
		})
	}
}

func TestContextNumbersAreMalformed(t *testing.T) {
	block := []byte{0x08, 1, 0x72, 0, 0x82, 1, 4, 0x12, 2, 0, 0x80}
	_, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: s2.Encode(nil, block), Header: frameHeader})
	if len(bad) != 1 || bad[0].Err.Error() != "the numbers of the event's contexts are cut off or malformed" {
		t.Errorf("failures %v", bad)
	}
}

// TestFrameFailures: what is wrong with one event concerns it alone, and comes back as a
// frame of its own.
func TestFrameFailures(t *testing.T) {
	var w frame.Writer
	w.Begin(frame.Header{})
	w.AddEncoded(protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "a"), 1)
	broken := []byte{0x0a, 0x02, 0xff, 0xfe} // id is not UTF-8
	w.AddEncoded(broken, 2)
	w.AddEncoded([]byte{0x0a, 0x7f}, 3) // cut off
	w.AddEncoded(nil, 4)                // empty, but an event
	events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: w.AppendTo(nil), Input: 2, Sequence: 9})
	if len(events) != 2 || events[0].ID != "a" || len(bad) != 2 {
		t.Fatalf("%d events, failures %v; want 2 and 2", len(events), bad)
	}
	want := []event.Origin{{Input: 2, Sequence: 9, Index: 0}, {Input: 2, Sequence: 9, Index: 3}}
	if diff := cmp.Diff(want, []event.Origin{events[0].Origin, events[1].Origin}); diff != "" {
		t.Errorf("origins (-want +got):\n%s", diff)
	}
	for i, u := range bad {
		if u.Index != i+1 || u.ContentType != event.ContentTypeFrame {
			t.Errorf("failure %d has index %d and type %q", i, u.Index, u.ContentType)
		}
		if _, err := readHeader(u.Raw); err != nil {
			t.Errorf("failure %d is no frame: %v", i, err)
		}
	}
}

func TestFrameHeader(t *testing.T) {
	events := []event.Event{{Time: 30}, {Time: 10}, {}, {Time: 20}}
	h := frame.Header{Partition: 7, InputStream: "RAW_EVENTS", InputFirst: 1 << 40, InputLast: 1<<40 + 3, Count: 99, MinTime: 1, MaxTime: 99}
	var refs []*event.Event
	for i := range events {
		refs = append(refs, &events[i])
	}
	got, err := readHeader(frame.Append([]byte("before")[:0:0], h, refs...))
	if err != nil {
		t.Fatal(err)
	}
	h.Version, h.Count, h.MinTime, h.MaxTime = 1, 4, 10, 30
	if diff := cmp.Diff(h, got); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	next := s2.Encode(nil, []byte{0x08, 0x02})
	if _, err := readHeader(next); err == nil || !strings.Contains(err.Error(), "version 2: this build reads version 1") {
		t.Errorf("a frame of version 2: %v", err)
	}
}

// TestSmallFramesAreSniffed: the first byte of a frame may be that of JSON.
func TestSmallFramesAreSniffed(t *testing.T) {
	found := map[byte]bool{}
	for n := range 200 {
		block := frameOf(t, &eventv1.Event{Id: strings.Repeat("x", n)})
		found[block[0]] = true
		events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: []byte(block)})
		if len(bad) != 0 || len(events) != 1 || len(events[0].ID) != n {
			t.Fatalf("a frame that begins with %q: %d events, %v", block[0], len(events), bad)
		}
	}
	if !found['{'] || !found['['] {
		t.Error("no frame began like JSON: the test tests nothing")
	}
}

// TestReceived: a dead letter has the bytes that came, and can be read again.
func TestReceived(t *testing.T) {
	line := `{"id":"b", "source":"/s"}`
	for name, m := range map[string]decode.Message{
		"json":   {Data: []byte(line)},
		"ndjson": {Data: []byte("{\"id\":\"a\"}\n" + line + "\r\n")},
		"batch":  {Data: []byte(`[{"id":"a"}, ` + line + ` ]`)},
	} {
		events, _ := decode.New(decode.Limits{}).Decode(nil, m)
		e := events[len(events)-1]
		e.AddResource("k", "v")
		body, ct := decode.AppendReceived(nil, &e)
		if string(body) != line || (ct == "") != (name == "json") {
			t.Errorf("%s: received %q of type %q, want %q", name, body, ct, line)
		}
	}
	d := decode.New(decode.Limits{})
	e := through(t, d, &eventv1.Event{Id: "f", Semantic: &eventv1.Semantic{Class: "old"}})
	e.SetSemantic(event.Semantic{Class: "new"})
	body, ct := decode.AppendReceived(nil, &e)
	again, bad := d.Decode(nil, decode.Message{Header: contentType(ct), Data: body})
	if len(bad) > 0 {
		t.Fatal(bad[0].Err)
	}
	if s, _ := again[0].Semantic(); again[0].ID != "f" || s.Class != "old" {
		t.Errorf("received %q with class %q, want f as it came", again[0].ID, s.Class)
	}
}

// TestIngestTime: the time of the first stream stays.
func TestIngestTime(t *testing.T) {
	d := decode.New(decode.Limits{})
	events, _ := d.Decode(nil, decode.Message{Data: []byte(`{"id":"a"}`), Time: 5})
	block := frame.Append(nil, frame.Header{}, &events[0])
	again, _ := d.Decode(nil, decode.Message{Data: block, Time: 9})
	if again[0].IngestTime != 5 {
		t.Errorf("ingest time %d, want 5", again[0].IngestTime)
	}
	// A time of 0 that was written is none, and does not stand behind the one that is set.
	var w frame.Writer
	w.Begin(frame.Header{})
	w.AddEncoded(protowire.AppendFixed64(protowire.AppendTag(nil, 7, protowire.Fixed64Type), 0), 0)
	events, _ = d.Decode(nil, decode.Message{Data: w.AppendTo(nil), Time: 5})
	again, _ = d.Decode(nil, decode.Message{Data: frame.Append(nil, frame.Header{}, &events[0]), Time: 9})
	if events[0].IngestTime != 5 || again[0].IngestTime != 5 {
		t.Errorf("ingest time %d, then %d, want 5", events[0].IngestTime, again[0].IngestTime)
	}
}

func TestValue(t *testing.T) {
	for _, c := range []struct {
		v    event.Value
		text string
		any  any
	}{
		{event.StringValue("s"), "s", "s"},
		{event.IntValue(-5), "-5", int64(-5)},
		{event.DoubleValue(0.5), "0.5", 0.5},
		{event.BoolValue(true), "true", true},
		{event.Value{}, "", nil},
	} {
		if got := c.v.Text(); got != c.text {
			t.Errorf("text %q, want %q", got, c.text)
		}
		if diff := cmp.Diff(c.any, c.v.Any()); diff != "" {
			t.Errorf("value (-want +got):\n%s", diff)
		}
	}
	if n, ok := event.DoubleValue(3).Int(); !ok || n != 3 {
		t.Errorf("3.0 as a whole number: %d, %v", n, ok)
	}
	for _, v := range []event.Value{event.DoubleValue(3.5), event.DoubleValue(1e300), event.StringValue("3")} {
		if n, ok := v.Int(); ok {
			t.Errorf("%v as a whole number: %d, want none", v, n)
		}
	}
}

func encoded(t *testing.T, m *eventv1.Event) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// blockOf returns a frame as it travels.
func blockOf(t *testing.T, f *eventv1.Frame) []byte {
	t.Helper()
	b, err := proto.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return s2.Encode(nil, b)
}

func frameOf(t *testing.T, messages ...*eventv1.Event) string {
	t.Helper()
	var w frame.Writer
	w.Begin(frame.Header{})
	for _, m := range messages {
		encoded, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		w.AddEncoded(encoded, int64(m.TimeUnixNano))
	}
	if got := fmt.Sprint(w.Len(), w.Header().Count); got != fmt.Sprint(len(messages), len(messages)) {
		t.Fatalf("the writer counts %s", got)
	}
	return string(w.AppendTo(nil))
}

// readHeader returns the header of a frame.
func readHeader(block []byte) (frame.Header, error) {
	b, err := s2.Decode(nil, block)
	if err != nil {
		return frame.Header{}, err
	}
	h, _, err := frame.ReadHeader(b)
	return h, err
}
