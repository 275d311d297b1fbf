package event

// Key is what the partition of an event is computed from: its partition key, else the uid
// of its entity, else kind/namespace/name, else its subject, else its source. Order is kept
// among events with one key. The key is fixed by the stage that reads the ingress: a stage that completes the entity
// later sets the partition key where the key would change (KeyWith).
func (e *Event) Key() string {
	key, ref := e.key()
	if ref {
		return e.Entity.Kind + "/" + e.Entity.Namespace + "/" + e.Entity.Name
	}
	return key
}

// KeyWith returns the key, and whether another entity would change it.
func (e *Event) KeyWith(entity EntityRef) (key string, changes bool) {
	if e.PartitionKey != "" {
		return e.PartitionKey, false
	}
	key = e.Key()
	with := Event{Entity: entity, Subject: e.Subject, Source: e.Source}
	return key, with.Key() != key
}

// key returns the key; ref means kind/namespace/name of the entity.
func (e *Event) key() (key string, ref bool) {
	switch {
	case e.PartitionKey != "":
		return e.PartitionKey, false
	case e.Entity.UID != "":
		return e.Entity.UID, false
	case e.Entity.Name != "":
		return "", true
	case e.Subject != "":
		return e.Subject, false
	}
	return e.Source, false
}

// FNV-1a, 32 bits (draft-eastlake-fnv).
const (
	fnvOffset = 2166136261
	fnvPrime  = 16777619
)

func fnv1a(hash uint32, s string) uint32 {
	for i := 0; i < len(s); i++ {
		hash = (hash ^ uint32(s[i])) * fnvPrime
	}
	return hash
}

// Partition returns the partition of key among n, 0..n-1: FNV-1a-32 modulo n, the function
// of the NATS subject transform {{partition(n,...)}}. n < 1 counts as 1.
func Partition(key string, n int) int { return modulo(fnv1a(fnvOffset, key), n) }

func modulo(hash uint32, n int) int {
	if n <= 1 {
		return 0
	}
	return int(uint64(hash) % uint64(n))
}

// PartitionOf returns the partition of the event among n. It equals Partition(e.Key(), n)
// and does not allocate.
func (e *Event) PartitionOf(n int) int { return modulo(e.KeyHash(), n) }

// KeyHash returns the hash of the key that partitions follow from.
func (e *Event) KeyHash() uint32 {
	key, ref := e.key()
	if !ref {
		return fnv1a(fnvOffset, key)
	}
	hash := fnv1a(fnvOffset, e.Entity.Kind)
	hash = fnv1a(hash, "/")
	hash = fnv1a(hash, e.Entity.Namespace)
	hash = fnv1a(hash, "/")
	return fnv1a(hash, e.Entity.Name)
}
