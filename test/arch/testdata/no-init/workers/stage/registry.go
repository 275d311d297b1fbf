package stage

type registry struct{}

// A method named init is no package initializer.
func (registry) init() {}

func init() {}
