package runs

import "slices"

// Told is an insight that was open before a replay.
type Told struct {
	ID       string
	Revision uint32
	Opened   int64
	// Names are those of its candidates, the root first.
	Names []string
}

// Resume gives incidents that began before the replay the ids under which people know them, and returns the told ones of which the
// replay shows nothing. What the replay told of under an id that nobody knows begins again.
func (c *Core) Resume(told []Told) (gone []Told) {
	known := map[string]bool{}
	for _, t := range told {
		known[t.ID] = true
	}
	for _, t := range told {
		if !c.resume(t, known) {
			gone = append(gone, t)
		}
	}
	for _, i := range c.incidents {
		if !known[i.id] {
			i.revision, i.toldLead, i.toldWeight, i.toldAt = 0, nil, 0, 0
		}
	}
	for _, a := range c.alarms {
		if !known[a.id] {
			a.revision, a.told = 0, ""
		}
	}
	return gone
}

func (c *Core) resume(t Told, known map[string]bool) bool {
	for _, i := range c.incidents {
		if i.id == t.ID {
			i.revision, i.opened = max(i.revision, t.Revision), min(i.opened, t.Opened)
			return true
		}
	}
	for _, a := range c.alarms {
		if a.id == t.ID {
			a.revision = max(a.revision, t.Revision)
			return true
		}
	}
	for _, i := range c.incidents {
		if !known[i.id] && !i.over && slices.ContainsFunc(t.Names, func(name string) bool { return i.suspects[0].service.shows() == name }) {
			i.id, i.revision, i.opened = t.ID, t.Revision, t.Opened
			return true
		}
	}
	return false
}

// shows is the name under which people know a service.
func (s *Service) shows() string {
	if s.Entity.Name != "" {
		return s.Entity.Name
	}
	return s.Name
}
