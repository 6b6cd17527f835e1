// Package explain answers, on the operator's own listener, why a decision of the last minutes is what it is: which rules held,
// which data were read, by which snapshot. It keeps inputs, never credentials or bodies, in a ring bounded by bytes, and
// evaluates them again when asked. Requests only hand over what they decided; they never wait, and an evaluation for an
// operator never takes a place of theirs.
package explain

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/policy"
)

// Limits of what waits to be kept.
const (
	queueMax      = 256     // decisions
	queueBytesMax = 4 << 20 // of requests they hold on to
	entryFixed    = 512     // bytes of an entry beside its documents, its place in the ring included (TestCountedBytesAreHonest)
	nameBytes     = 32      // of each pointer to what was masked, beside its text

	issuerFixed       = 160 // of what is kept of an issuer
	organizationFixed = 256 // of what is kept of a second decision, beside its document
)

// Decided is one decision.
type Decided struct {
	Record  decisionlog.Record
	Subject decide.Subject // its Request is nil when the policy was not asked
	Policy  *policy.Policy // which was in force; may be nil
	Issuer  *state.Issuer  // of the caller, as it was in the snapshot; nil when nobody was identified
}

// entry is what is kept of a decision. It is never changed.
type entry struct {
	kept  Kept
	input json.RawMessage // masked; nil when the policy was not asked
	size  int64
}

// Kept is what is known of a decision without evaluating anything again.
type Kept struct {
	DecisionID string          `json:"decision_id"`
	Time       time.Time       `json:"timestamp"`
	Path       string          `json:"path"`
	Result     string          `json:"result"`
	Reason     string          `json:"reason,omitempty"`
	Code       string          `json:"reason_code,omitempty"`
	Status     int             `json:"http_status,omitempty"`
	Error      string          `json:"error,omitempty"`
	Epoch      uint64          `json:"snapshot_epoch"`
	Revision   string          `json:"policy_revision,omitempty"` // of the snapshot
	Issuer     *KeptIssuer     `json:"issuer,omitempty"`
	Masked     []string        `json:"masked,omitempty"`
	Erased     []string        `json:"erased,omitempty"`
	Decision   json.RawMessage `json:"decision,omitempty"`

	Organization *KeptOrganization `json:"organization,omitempty"`
}

// KeptIssuer is what the snapshot held of the caller's issuer.
type KeptIssuer struct {
	Issuer string `json:"issuer"`
	// Epoch is of the snapshot in which rules, keys or revocations of the issuer last changed.
	Epoch uint64 `json:"epoch"`
	Keys  int    `json:"keys"` // how many there were
	// KeysUntil is when the keys would have been too old: jwks.maxStale after their URL last confirmed them. Keys of a file have none.
	KeysUntil time.Time `json:"keys_until,omitzero"`
	// RevocationsSequence is that of its revocation list, absent where none is configured; RevocationsUntil is as KeysUntil.
	RevocationsSequence *int64    `json:"revocations_sequence,omitempty"`
	RevocationsUntil    time.Time `json:"revocations_until,omitzero"`
}

// KeptOrganization is what the policy of the caller's organization decided besides.
type KeptOrganization struct {
	ID       string          `json:"id"`
	Revision string          `json:"revision,omitempty"`
	Path     string          `json:"path"`
	Result   string          `json:"result"`
	Code     string          `json:"reason_code,omitempty"`
	Decision json.RawMessage `json:"decision,omitempty"`
}

// Recorder keeps the last decisions. It is safe for concurrent use.
type Recorder struct {
	bytesMax int64
	masker   decisionlog.Masker
	queue    chan Decided
	pending  atomic.Int64
	missed   [len(causes)]atomic.Uint64
	resident func(id, revision string) *policy.Policy

	mu       sync.Mutex
	entries  map[string]*entry
	order    []string // decision ids, oldest first, from head on
	head     int
	bytes    int64
	active   *policy.Policy // the policy of the newest decision
	previous *policy.Policy // the one before it

	ctx  context.Context // ends with Close
	end  context.CancelFunc
	done chan struct{}
}

// New starts a recorder that keeps about bytesMax bytes. mask names members of inputs and results that are left out besides
// credentials, bodies and certificates. Close it.
func New(bytesMax int64, mask []string) *Recorder {
	r := &Recorder{
		bytesMax: bytesMax, masker: decisionlog.NewMasker(mask), queue: make(chan Decided, queueMax), entries: map[string]*entry{}, done: make(chan struct{}),
		resident: func(string, string) *policy.Policy { return nil },
	}
	r.ctx, r.end = context.WithCancel(context.Background())
	go r.work()
	return r
}

// Organizations says how policies of organizations are found, by organization and revision; nil for one that is gone. The Recorder keeps
// none of them. It is called before the first Add.
func (r *Recorder) Organizations(find func(id, revision string) *policy.Policy) { r.resident = find }

// Add hands a decision over. It never blocks; one that does not fit is not kept, and counted.
func (r *Recorder) Add(d Decided) {
	size := d.Record.Size()
	if r.pending.Add(size) > queueBytesMax {
		r.pending.Add(-size)
		r.miss(causeFull)
		return
	}
	select {
	case r.queue <- d:
	default:
		r.pending.Add(-size)
		r.miss(causeFull)
	}
}

// Close ends the recorder. Add does no harm after it.
func (r *Recorder) Close() {
	r.end()
	<-r.done
}

func (r *Recorder) work() {
	defer close(r.done)
	for {
		select {
		case <-r.ctx.Done():
			return
		case d := <-r.queue:
			if e := r.entryOf(d); e != nil {
				r.keep(e, d.Policy)
			} else {
				r.miss(causeEncode)
			}
			r.pending.Add(-d.Record.Size())
		}
	}
}

// entryOf renders what is kept; nil when that cannot be.
func (r *Recorder) entryOf(d Decided) (e *entry) {
	defer func() {
		if recover() != nil {
			e = nil // a decision that cannot be rendered costs itself only
		}
	}()
	from := d.Record
	e = &entry{kept: Kept{
		DecisionID: from.DecisionID, Time: from.Time.UTC(), Path: from.Path, Result: from.Result, Reason: from.Reason, Code: from.Code,
		Status: from.Status, Error: r.masker.Text(from.Err), Epoch: from.Epoch,
		Revision: from.Revision, Issuer: issuerOf(d.Issuer),
	}}
	var err error
	if from.Decision != nil {
		if e.kept.Decision, err = json.Marshal(r.masker.Result(from.Decision)); err != nil {
			return nil
		}
	}
	if e.kept.Organization, err = r.organizationOf(from.Organization); err != nil {
		return nil
	}
	if d.Subject.Request != nil {
		if e.input, e.kept.Masked, e.kept.Erased, err = r.inputOf(d.Subject); err != nil {
			return nil
		}
	}
	documents := len(e.input) + len(e.kept.Decision) + len(e.kept.Error)
	if o := e.kept.Organization; o != nil {
		documents += organizationFixed + len(o.ID) + len(o.Decision)
	}
	if e.kept.Issuer != nil {
		documents += issuerFixed
	}
	for _, masked := range e.kept.Masked {
		documents += nameBytes + len(masked)
	}
	documents += nameBytes * len(e.kept.Erased)          // their texts are the configuration's
	e.size = int64(entryFixed + documents + documents/8) // an eighth is lost to sizes of allocations
	return e
}

// issuerOf copies what is to be shown: an entry keeps no snapshot alive.
func issuerOf(from *state.Issuer) *KeptIssuer {
	if from == nil {
		return nil
	}
	i := &KeptIssuer{Issuer: from.Rules.Issuer, Epoch: from.Epoch, KeysUntil: from.KeysUntil.UTC(), RevocationsUntil: from.RevocationsUntil.UTC()}
	if from.Keys != nil {
		i.Keys = from.Keys.Len()
	}
	if from.Revocations != nil {
		sequence := from.Revocations.Sequence()
		i.RevocationsSequence = &sequence
	}
	return i
}

func (r *Recorder) organizationOf(from *decisionlog.Organization) (*KeptOrganization, error) {
	if from == nil {
		return nil, nil
	}
	o := &KeptOrganization{ID: strings.Clone(from.ID), Revision: from.Revision, Path: from.Path, Result: from.Result, Code: strings.Clone(from.Code)}
	if from.Decision == nil {
		return o, nil
	}
	var err error
	o.Decision, err = json.Marshal(r.masker.Result(from.Decision))
	return o, err
}

func (r *Recorder) inputOf(s decide.Subject) (_ json.RawMessage, masked, erased []string, _ error) {
	input, refusal, err := decide.Input(s)
	if refusal != nil {
		return nil, nil, nil, nil // the body is not what it says it is: the policy was not asked
	}
	if err != nil {
		return nil, nil, nil, err
	}
	tree, err := policy.ToAny(input)
	if err != nil {
		return nil, nil, nil, err
	}
	object, _ := tree.(map[string]any)
	masked, erased = r.masker.Input(object)
	text, err := json.Marshal(object)
	return text, masked, erased, err
}

// keep puts an entry into the ring, and lets the oldest go for it.
func (r *Recorder) keep(e *entry, decidedBy *policy.Policy) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if decidedBy != nil && decidedBy != r.active && decidedBy != r.previous {
		r.active, r.previous = decidedBy, r.active
	}
	if _, twice := r.entries[e.kept.DecisionID]; twice {
		r.miss(causeTwice)
		return
	}
	if e.size > r.bytesMax {
		r.miss(causeSize)
		return
	}
	for r.bytes+e.size > r.bytesMax {
		oldest := r.order[r.head]
		r.bytes -= r.entries[oldest].size
		delete(r.entries, oldest)
		r.order[r.head] = ""
		r.head++
	}
	if r.head > len(r.order)/2 {
		r.order, r.head = append(r.order[:0:0], r.order[r.head:]...), 0
	}
	r.entries[e.kept.DecisionID] = e
	r.order = append(r.order, e.kept.DecisionID)
	r.bytes += e.size
}

// find returns an entry and the policy that decided it; either may be nil.
func (r *Recorder) find(decisionID string) (*entry, *policy.Policy) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[decisionID]
	if e == nil {
		return nil, nil
	}
	for _, p := range []*policy.Policy{r.active, r.previous} {
		if p != nil && p.Revision() == e.kept.Revision {
			if r, ok := p.Route(e.kept.Path); ok {
				p = r
			}
			return e, p
		}
	}
	return e, nil
}
