package config

// Route configures a route stage.
type Route struct {
	// Mode says whether an event leaves by the first rule that takes it, or by all.
	Mode RouteMode `json:"mode"`
	// Rules are in the order in which they are asked.
	Rules []RouteRule `json:"rules"`
	// Default is the port of events that no rule takes; empty = they end here, and are counted as filtered.
	Default string `json:"default,omitempty"`
}

// RouteMode says how many rules may take an event.
type RouteMode string

// The modes.
const (
	RouteFirst RouteMode = "First"
	RouteAll   RouteMode = "All"
)

// RouteRule sends the events that it takes to a port.
type RouteRule struct {
	// Port is one of the outputs of the stage. Several rules may name one.
	Port string `json:"port"`
	// Expression is CEL over the variable `event`, and yields a bool.
	Expression string `json:"expression"`
	// Sample is the share of keys that the rule takes, above 0 and below 1; 0 = all.
	Sample float64 `json:"sample,omitempty"`
}
