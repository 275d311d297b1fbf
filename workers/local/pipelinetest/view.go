package pipelinetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"

	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/local"
)

// view is an event as tests describe it: a native JSON event, with its typed members at the top.
type view map[string]any

// viewOf lifts what stands in data of a structured CloudEvent that Millrace has written.
func viewOf(carried []byte) (view, error) {
	v := view{}
	decoder := json.NewDecoder(bytes.NewReader(carried))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		return nil, fmt.Errorf("read what the port carries: %w", err)
	}
	data, typed := v["data"].(map[string]any)
	typed = typed && (v["dataschema"] == cloudevent.DataSchema || v["type"] == local.DeadLetterType)
	delete(v, "specversion")
	if !typed {
		return v, nil
	}
	delete(v, "data")
	delete(v, "dataschema")
	delete(v, "datacontenttype")
	if payload, ok := data["payload"].(map[string]any); ok {
		delete(data, "payload")
		maps.Copy(v, payload)
	}
	maps.Copy(v, data)
	return v, nil
}

// name is what an event is called in messages.
func (v view) name() string {
	if id, ok := v["id"].(string); ok && id != "" {
		return fmt.Sprintf("%q", id)
	}
	return "one without an id"
}
