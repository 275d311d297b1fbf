package chain

// keepItems is how many elements a slice that is used again may have room for. Frames of the operator's
// default batch fit. What one unusual message needed is given back.
const keepItems = 8192

// emptied returns no elements, in the memory of s unless that is unusually large.
func emptied[T any](s []T) []T {
	if cap(s) > keepItems {
		return nil
	}
	return s[:0]
}

// grow returns n zero elements, in the memory of s where that is enough and not unusually large.
func grow[T any](s []T, n int) []T {
	s = emptied(s)
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}
