package feed

// Hints passes "this token names a key I do not have", and "the keys I have are too old", from requests to the feeds of keys. Feeds are added before requests are served;
// from then on it is safe for concurrent use.
type Hints struct{ feeds map[string]*KeyURL }

// NewHints knows no feed yet.
func NewHints() *Hints { return &Hints{feeds: map[string]*KeyURL{}} }

// Add registers the feed of an issuer's keys.
func (h *Hints) Add(issuer string, f *KeyURL) { h.feeds[issuer] = f }

// ReadEarly asks for an early read of the issuer's keys. It never blocks and never fetches: the feed does, at most once in 30
// seconds. An issuer without a feed has nothing to read early.
func (h *Hints) ReadEarly(issuer string) {
	if f, ok := h.feeds[issuer]; ok {
		f.ReadEarly()
	}
}
