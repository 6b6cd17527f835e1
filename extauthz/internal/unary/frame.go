package unary

import "encoding/binary"

// Frame types, flags, settings and error codes of RFC 9113 s6, s6.5.2 and s7.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	framePriority     = 0x2
	frameReset        = 0x3
	frameSettings     = 0x4
	framePush         = 0x5
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindow       = 0x8
	frameContinuation = 0x9

	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20

	settingTableSize   = 0x1
	settingPush        = 0x2
	settingStreams     = 0x3
	settingWindow      = 0x4
	settingFrameSize   = 0x5
	settingHeaderBytes = 0x6
	settingBytes       = 6

	frameHeaderBytes = 9
	frameBytesMax    = 1 << 14 // what each side must take (s4.2); we take no more and send no more
	windowMax        = 1<<31 - 1
	windowInitial    = 65_535 // of a connection, and of streams until SETTINGS say otherwise (s6.9.2)
	streamIDMax      = 1<<31 - 1
)

// errorCode is RFC 9113 s7.
type errorCode uint32

const (
	codeNone           errorCode = 0x0
	codeProtocol       errorCode = 0x1
	codeFlowControl    errorCode = 0x3
	codeStreamClosed   errorCode = 0x5
	codeFrameSize      errorCode = 0x6
	codeRefused        errorCode = 0x7
	codeCancel         errorCode = 0x8
	codeCompression    errorCode = 0x9
	codeEnhanceCalm    errorCode = 0xb
	codeHTTP11Required errorCode = 0xd
)

// connectionError ends a connection (s5.4.1). It is sent as GOAWAY.
type connectionError struct {
	code   errorCode
	reason string
}

func (e *connectionError) Error() string { return "HTTP/2: " + e.reason }

// frame is one frame as it came. Its payload is part of the connection's buffer: good until the next is read.
type frame struct {
	kind    byte
	flags   byte
	stream  uint32
	payload []byte
}

func (f *frame) has(flag byte) bool { return f.flags&flag != 0 }

// unpadded takes the padding off (s6.1); false when there is more of it than frame.
func (f *frame) unpadded() ([]byte, bool) {
	if !f.has(flagPadded) {
		return f.payload, true
	}
	if len(f.payload) == 0 || int(f.payload[0]) > len(f.payload)-1 {
		return nil, false
	}
	return f.payload[1 : len(f.payload)-int(f.payload[0])], true
}

func appendFrameHeader(b []byte, length int, kind, flags byte, stream uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), kind, flags,
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendReset(b []byte, stream uint32, code errorCode) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHeader(b, 4, frameReset, 0, stream), uint32(code))
}

func appendWindow(b []byte, stream uint32, by int) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHeader(b, 4, frameWindow, 0, stream), uint32(by))
}

func appendPing(b []byte, flags byte, data [8]byte) []byte {
	return append(appendFrameHeader(b, 8, framePing, flags, 0), data[:]...)
}

func appendGoAway(b []byte, last uint32, code errorCode, reason string) []byte {
	b = appendFrameHeader(b, 8+len(reason), frameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	return append(binary.BigEndian.AppendUint32(b, uint32(code)), reason...)
}

func appendSetting(b []byte, id uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, id), value)
}
