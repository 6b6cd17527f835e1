package checkresp

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
)

// What a gRPC client gets besides grpc-status and grpc-message is a google.rpc.Status with details (google/rpc/status.proto,
// error_details.proto), in the grpc-status-details-bin header: programs read that, and never the message.
const (
	detailsDomain = realm // of google.rpc.ErrorInfo: who says so
	detailsReason = 63    // bytes of a reason, as error_details.proto has it
	typePrefix    = "type.googleapis.com/google.rpc."

	metadataScopes = "scopes" // of ErrorInfo: what would have been enough, separated by spaces

	fieldMessage = 2 // of Status
	fieldDetails = 3
	fieldTypeURL = 1 // of Any
	fieldContent = 2
	fieldReason  = 1 // of ErrorInfo
	fieldDomain  = 2
	fieldPairs   = 3
	fieldDelay   = 1 // of RetryInfo
	fieldSeconds = 1 // of Duration
)

// appendRPCStatus says which status a gRPC client gets, and its details. Envoy would make one of the HTTP status: of 400
// INTERNAL and of 429 UNAVAILABLE, which clients repeat at once. It keeps a status that is there already (seen with
// 1.40.0), so a policy that sets its own has it, without details of ours, which must not contradict it.
func appendRPCStatus(denied []byte, d *Denial, message []byte) []byte {
	if !d.GRPC || slices.ContainsFunc(d.Changes.set, func(h setting) bool { return strings.HasPrefix(h.name, "grpc-") }) {
		return denied
	}
	code := rpcCode(d.Status)
	denied = appendHeader(denied, fieldDeniedHeaders, "grpc-status", strconv.Itoa(int(code)), actionOverwrite)
	var room, infoRoom [1 << 10]byte
	status := appendVarint(room[:0], fieldCode, uint64(code))
	status = appendText(status, fieldMessage, message)
	status = appendDetail(status, "ErrorInfo", appendErrorInfo(infoRoom[:0], d))
	if seconds := d.retryAfter(); seconds > 0 {
		delay := appendVarint(nil, fieldSeconds, uint64(seconds))
		status = appendDetail(status, "RetryInfo", appendBytes(nil, fieldDelay, delay))
	}
	return appendHeader(denied, fieldDeniedHeaders, "grpc-status-details-bin", base64.RawStdEncoding.EncodeToString(status), actionOverwrite)
}

func appendErrorInfo(b []byte, d *Denial) []byte {
	b = appendText(b, fieldReason, strings.ToUpper(clip(d.Code, detailsReason)))
	b = appendText(b, fieldDomain, detailsDomain)
	b = appendMetadatum(b, metadataDecision, clip(d.DecisionID, codeBytesMax))
	if d.Challenge != nil {
		var room [challengeScopeMax]byte
		if scopes := d.Challenge.appendScopes(room[:0]); len(scopes) > 0 {
			b = appendMetadatum(b, metadataScopes, string(scopes))
		}
	}
	return b
}

func appendMetadatum(b []byte, name, value string) []byte {
	b = appendLength(b, fieldPairs, 1+protowire.SizeBytes(len(name))+1+protowire.SizeBytes(len(value)))
	return appendElement(appendElement(b, fieldKey, name), fieldValue, value)
}

// appendDetail appends an Any.
func appendDetail(status []byte, name string, detail []byte) []byte {
	url := len(typePrefix) + len(name)
	status = appendLength(status, fieldDetails, 1+protowire.SizeBytes(url)+1+protowire.SizeBytes(len(detail)))
	status = append(append(appendLength(status, fieldTypeURL, url), typePrefix...), name...)
	return appendBytes(status, fieldContent, detail)
}

// retryAfter is in how many seconds the client may come again, 0 when nothing is said.
func (d *Denial) retryAfter() int {
	switch {
	case d.Limited != nil:
		return max(1, d.Limited.RetryAfter)
	case d.Status == http.StatusServiceUnavailable && d.Body == nil:
		return retryAfterSeconds
	default:
		return 0
	}
}

// rpcCode is what google/rpc/code.proto has for a status, PERMISSION_DENIED for those it does not name: a denial is what
// all of them are. It never is OK.
func rpcCode(status int) codes.Code {
	switch status {
	case http.StatusBadRequest:
		return codes.InvalidArgument
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusNotFound:
		return codes.NotFound
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusInternalServerError:
		return codes.Internal
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return codes.Unavailable
	default:
		return codes.PermissionDenied
	}
}
