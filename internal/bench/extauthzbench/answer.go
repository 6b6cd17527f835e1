package main

import (
	"errors"
	"fmt"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The fields of envoy.service.auth.v3.CheckResponse and google.rpc.Status that say what was decided.
const (
	fieldStatus     protowire.Number = 1
	fieldDenied     protowire.Number = 2
	fieldOK         protowire.Number = 3
	fieldStatusCode protowire.Number = 1
)

// outcome is what an answer has to be.
type outcome int

const (
	allowed     outcome = iota
	allowedAs           // allowed, with the agent's name for the service
	denied              // with a status and nothing else, likewise
	deniedScope         // denied by 403
)

// check looks at what decides, in every answer; it reads a few bytes, so that the client stays cheap.
func (o outcome) check(answer []byte) error {
	code, isDenied, isOK, err := scan(answer)
	if err != nil {
		return err
	}
	good := false
	switch o {
	case allowed:
		good = code == 0 && !isDenied && len(answer) > 0
	case allowedAs:
		good = code == 0 && !isDenied && isOK
	case denied:
		good = code != 0 && !isOK
	case deniedScope:
		good = code != 0 && !isOK && isDenied
	}
	if !good {
		return unexpected(o, answer)
	}
	return nil
}

// errUndecided is an answer that is no decision: on a machine that is busy enough a policy runs out of its time.
var errUndecided = errors.New("503")

func unexpected(o outcome, answer []byte) error {
	err := fmt.Errorf("want %s, got %s", o, show(answer))
	var r authv3.CheckResponse
	if proto.Unmarshal(answer, &r) == nil && r.GetDeniedResponse().GetStatus().GetCode() == 503 {
		return fmt.Errorf("%w: %w", errUndecided, err)
	}
	return err
}

func (o outcome) String() string {
	if o == allowed || o == allowedAs {
		return "an allow"
	}
	return "a denial"
}

// checkWhole decodes the answer and looks at what it says besides.
func (o outcome) checkWhole(answer []byte) error {
	var r authv3.CheckResponse
	if err := proto.Unmarshal(answer, &r); err != nil {
		return err
	}
	switch o {
	case deniedScope:
		if status := r.GetDeniedResponse().GetStatus().GetCode(); status != 403 {
			return fmt.Errorf("want status 403, got %s", show(answer))
		}
	case allowedAs:
		for _, h := range r.GetOkResponse().GetHeaders() {
			if h.GetHeader().GetKey() == "x-agent-id" && strings.HasPrefix(h.GetHeader().GetValue()+string(h.GetHeader().GetRawValue()), "agt_") {
				return nil
			}
		}
		return fmt.Errorf("want the agent's name, got %s", show(answer))
	}
	return nil
}

func show(answer []byte) string {
	var r authv3.CheckResponse
	if proto.Unmarshal(answer, &r) != nil {
		return "what is no CheckResponse"
	}
	return r.String()
}

var errWire = errors.New("the answer is no protobuf message")

// scan finds the status code and whether the two kinds of answer are there.
func scan(answer []byte) (code uint64, isDenied, isOK bool, err error) {
	err = fields(answer, func(number protowire.Number, value []byte, _ uint64) error {
		switch number {
		case fieldStatus:
			return fields(value, func(n protowire.Number, _ []byte, v uint64) error {
				if n == fieldStatusCode {
					code = v
				}
				return nil
			})
		case fieldDenied:
			isDenied = true
		case fieldOK:
			isOK = true
		}
		return nil
	})
	return code, isDenied, isOK, err
}

// fields calls each for the fields of a message: with their bytes, or their number.
func fields(message []byte, each func(protowire.Number, []byte, uint64) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errWire
		}
		message = message[n:]
		var value []byte
		var varint uint64
		switch kind {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			varint, n = protowire.ConsumeVarint(message)
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return errWire
		}
		message = message[n:]
		if err := each(number, value, varint); err != nil {
			return err
		}
	}
	return nil
}
