package view

// ring holds the newest values.
type ring[T any] struct {
	all  []T
	next int
}

// add puts a value in the place of the oldest one, once there are n.
func (r *ring[T]) add(v T, n int) {
	if len(r.all) < n {
		r.all = append(r.all, v)
		return
	}
	r.all[r.next%n] = v
	r.next++
}
