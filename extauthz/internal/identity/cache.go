package identity

import (
	"fmt"
	"hash/maphash"
	"time"

	"github.com/dgraph-io/ristretto/v2"
)

// CacheBytesDefault holds about ten thousand tokens of 800 bytes.
const CacheBytesDefault = 64 << 20

// A verdict costs its token, the identity and the document made of it. Measured with tokens of 600 to 2,000 bytes
// (TestCacheStaysWithinItsBytes): never above this estimate.
const (
	verdictBytesFixed    = 4<<10 + 128
	verdictBytesPerToken = 2 // times the length of the token
)

// cache remembers verified tokens. Refusals are not remembered: most are cheap to find again, and those that cost a
// signature check would let a stranger fill the cache.
type cache struct {
	entries *ristretto.Cache[string, *verdict]
}

func newCache(bytesMax int64) (*cache, error) {
	if bytesMax <= 0 {
		bytesMax = CacheBytesDefault
	}
	// Random seeds: nobody can compute two tokens that fall on one entry. get does not rely on it.
	first, second := maphash.MakeSeed(), maphash.MakeSeed()
	entries, err := ristretto.NewCache(&ristretto.Config[string, *verdict]{
		NumCounters:        max(1000, 10*bytesMax/verdictBytesFixed), // ten per entry, as the library advises
		MaxCost:            bytesMax,
		BufferItems:        64, // the library's advice
		IgnoreInternalCost: true,
		KeyToHash: func(token string) (uint64, uint64) {
			return maphash.String(first, token), maphash.String(second, token)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("token cache: %w", err)
	}
	return &cache{entries}, nil
}

// get returns the verdict of exactly this token, or nil. The library compares hashes; here every byte is compared.
func (c *cache) get(token string) *verdict {
	v, ok := c.entries.Get(token)
	if !ok || v == nil || v.token != token {
		return nil
	}
	return v
}

func (c *cache) put(v *verdict, now time.Time) {
	life := time.Unix(v.identity.ExpiresAt, 0).Add(v.rules.Skew).Sub(now)
	if life <= 0 {
		return
	}
	c.entries.SetWithTTL(v.token, v, cost(v.token), life)
}

// drop forgets a verdict. Until that is done behind the request, every use of it is checked as any other.
func (c *cache) drop(v *verdict) { c.entries.Del(v.token) }

// each visits what is remembered. visit must not change the cache.
func (c *cache) each(visit func(*verdict)) {
	c.entries.IterValues(func(v *verdict) bool { visit(v); return false })
}

func cost(token string) int64 { return int64(verdictBytesFixed + verdictBytesPerToken*len(token)) }

func (c *cache) close() { c.entries.Close() }
