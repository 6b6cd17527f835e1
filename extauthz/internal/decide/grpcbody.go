package decide

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/internal/strictjson"
)

const (
	// DescriptorsBytesMax bounds the file a Descriptors is made of.
	DescriptorsBytesMax = 4 << 20

	frameHeaderBytes = 5  // flag and length in front of each gRPC message
	messageDepthMax  = 32 // nesting of messages
	anyMessagesMax   = 32 // google.protobuf.Any in one message: each is unpacked, nested ones again and again
)

// Descriptors are the gRPC methods whose request messages a policy can read. They are read-only and shared by all requests.
type Descriptors struct {
	files *protoregistry.Files
	types *dynamicpb.Types
}

// ParseDescriptors reads an encoded google.protobuf.FileDescriptorSet, as protoc --include_imports --descriptor_set_out
// writes it. A set without a service is refused: it would make no body readable.
func ParseDescriptors(encoded []byte) (*Descriptors, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(encoded, &set); err != nil {
		return nil, errors.New("not an encoded FileDescriptorSet")
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("descriptor set: %w", err)
	}
	services := 0
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		services += f.Services().Len()
		return true
	})
	if services == 0 {
		return nil, errors.New("the descriptor set has no service")
	}
	return &Descriptors{files, dynamicpb.NewTypes(files)}, nil
}

// method is the method a request path names: /package.Service/Method.
func (d *Descriptors) method(segments []string) protoreflect.MethodDescriptor {
	if len(segments) != 2 {
		return nil
	}
	found, err := d.files.FindDescriptorByName(protoreflect.FullName(segments[0]))
	if err != nil {
		return nil
	}
	service, ok := found.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil
	}
	return service.Methods().ByName(protoreflect.Name(segments[1]))
}

// errAsText is a mistake in Envoy's configuration: bytes that are no text were replaced on the way.
var errAsText = errors.New("the body of a gRPC call must come as bytes: pack_as_bytes is not set")

// framed are the media types whose body is a sequence of length-prefixed protobuf messages. grpc-web frames requests alike.
var framed = map[string]bool{
	"application/grpc": true, "application/grpc+proto": true, "application/grpc-web": true, "application/grpc-web+proto": true,
}

// parseGRPC reads the one message of a unary call. A method nobody described, and one that may send several messages, has
// no body a policy could read (nil), as with the plugin: the policy knows both by their path. All else that is not one
// whole message is cut off or an error, where the plugin shows null (compressed messages) or the first message (several in one body):
// a policy that denies by contents would let pass what it cannot see.
func (d *Descriptors) parseGRPC(r *checkreq.Request, mediaType string) (tree any, truncated bool, err error) {
	method := d.method(r.Segments)
	switch {
	case method == nil || method.IsStreamingClient():
		return nil, false, nil
	case !framed[mediaType]:
		return nil, false, errors.New("not protobuf messages")
	case !r.Raw:
		return nil, false, errAsText
	case len(r.Body) < frameHeaderBytes:
		return nil, false, errors.New("shorter than a frame")
	case r.Body[0] != 0:
		return nil, false, errors.New("compressed")
	}
	message, size := r.Body[frameHeaderBytes:], uint64(binary.BigEndian.Uint32(r.Body[1:frameHeaderBytes]))
	switch {
	case size > uint64(len(message)):
		return nil, true, nil
	case size < uint64(len(message)):
		return nil, false, errors.New("bytes after the message")
	}
	tree, err = d.decode(method.Input(), message)
	return tree, false, err
}

// decode renders a message as protojson does: lowerCamelCase names, 64-bit integers as strings, what is not set absent.
func (d *Descriptors) decode(kind protoreflect.MessageDescriptor, encoded []byte) (any, error) {
	resolver := &anyResolver{types: d.types}
	message := dynamicpb.NewMessage(kind)
	if err := (proto.UnmarshalOptions{Resolver: resolver, RecursionLimit: messageDepthMax}).Unmarshal(encoded, message); err != nil {
		return nil, err
	}
	doc, err := protojson.MarshalOptions{Resolver: resolver}.Marshal(message)
	if err != nil {
		return nil, err
	}
	return strictjson.Parse(doc, bodyLimits)
}

// anyResolver finds the types of one body's Any messages, a bounded number of times.
type anyResolver struct {
	types *dynamicpb.Types
	asked int
}

var errTooManyAny = errors.New("more than 32 messages of type Any")

// FindMessageByName implements protojson's Resolver.
func (r *anyResolver) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	return r.types.FindMessageByName(name)
}

// FindMessageByURL implements protojson's Resolver.
func (r *anyResolver) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	if r.asked++; r.asked > anyMessagesMax {
		return nil, errTooManyAny
	}
	return r.types.FindMessageByURL(url)
}

// FindExtensionByName implements protojson's Resolver.
func (r *anyResolver) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	return r.types.FindExtensionByName(name)
}

// FindExtensionByNumber implements protojson's Resolver.
func (r *anyResolver) FindExtensionByNumber(message protoreflect.FullName, field protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	return r.types.FindExtensionByNumber(message, field)
}

// mediaType is a content type without its parameters, in lower case.
func mediaType(contentType string) string {
	name, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(name))
}
