package decide

import (
	"encoding/json"
	"sync"
)

// keptMax bounds how many different decisions of a policy are told apart. Most policies have a handful, for any number of
// callers; the decisions of one that says something else to each are kept as often as they come.
const (
	keptMax       = 1024
	keptOfManyMax = 32      // of a policy that is one of many
	keptBytesMax  = 1 << 10 // of one as JSON; larger ones are kept as often as they come
)

// kept holds one of each decision that is remembered.
type kept struct {
	max int
	mu  sync.Mutex
	by  map[string]*Decision // by result, as JSON: its members are in the order of their names
}

// one returns a decision with this result that holds no piece of a request.
func (k *kept) one(result any) (*Decision, error) {
	text, err := json.Marshal(result)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if d := k.by[string(text)]; d != nil {
		return d, nil
	}
	d, err := parse(detached(result))
	if err != nil {
		return nil, err
	}
	if k.by == nil {
		k.by = make(map[string]*Decision)
	}
	if len(k.by) < k.max && len(text) <= keptBytesMax {
		k.by[string(text)] = d
	}
	return d, nil
}
