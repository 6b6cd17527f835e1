package policy

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// edgeBuiltins is the allow-list: what a policy at the edge may call. A function that is new in OPA is not on it until
// somebody read it. Left out on purpose, with the reason:
//
//	http.send net.lookup_ip_addr json.match_schema json.verify_schema   open sockets
//	opa.runtime rand.* uuid.rfc4122 io.jwt.encode_*                     read the process, or do not repeat
//	rego.parse_module graphql.* yaml.* strings.render_template          parsers and templates nobody needs per request
//	bits.lsh graph.* net.cidr_expand net.cidr_merge
//	net.cidr_contains_matches regex.globs_match                         one call can run for seconds, and is not cancelled
//	crypto.x509.* crypto.parse_* providers.aws.*                        key handling: certificates are verified before us
//	io.jwt.*                                                            tokens are verified before us (but see tokenBuiltins)
//	trace                                                               has no effect here
//
// Those that print, or put values together, are guarded: see guards.go. One call that is on the list can still run long (a product of two giant numbers). That is what the workers are for.
const edgeBuiltins = `
	assign eq equal neq lt lte gt gte
	plus minus mul div rem abs ceil floor round numbers.range numbers.range_step
	bits.and bits.or bits.xor bits.negate bits.rsh
	and or minus intersection union internal.member_2 internal.member_3
	array.concat array.flatten array.reverse array.slice
	count max min product sort sum
	object.filter object.get object.keys object.remove object.subset object.union object.union_n
	json.filter json.remove json.patch json.is_valid json.marshal json.marshal_with_options json.unmarshal
	concat contains endswith startswith format_int indexof indexof_n lower upper replace split sprintf substring
	strings.any_prefix_match strings.any_suffix_match strings.count strings.replace_n strings.reverse strings.split_n
	trim trim_left trim_prefix trim_right trim_space trim_suffix internal.template_string
	regex.find_all_string_submatch_n regex.find_n regex.is_valid regex.match regex.replace regex.split regex.template_match
	glob.match glob.quote_meta
	is_array is_boolean is_null is_number is_object is_set is_string type_name to_number
	base64.decode base64.encode base64.is_valid base64url.decode base64url.encode base64url.encode_no_pad
	hex.decode hex.encode urlquery.decode urlquery.decode_object urlquery.encode urlquery.encode_object uri.is_valid uri.parse
	crypto.hmac.equal crypto.hmac.sha256 crypto.hmac.sha512 crypto.sha256
	net.cidr_contains net.cidr_intersects net.cidr_is_valid
	semver.compare semver.is_valid units.parse units.parse_bytes uuid.parse
	time.add_date time.clock time.date time.diff time.format time.now_ns time.parse_duration_ns time.parse_ns
	time.parse_rfc3339_ns time.weekday
	walk print internal.print rego.metadata.chain rego.metadata.rule
`

// tokenBuiltins are added for a policy that verifies tokens itself ("identity: policy", as with opa-envoy-plugin).
// io.jwt.decode_verify is replaced by a guarded one: see tokens.go.
const tokenBuiltins = `
	io.jwt.decode io.jwt.decode_verify
	io.jwt.verify_eddsa io.jwt.verify_es256 io.jwt.verify_es384 io.jwt.verify_es512
	io.jwt.verify_ps256 io.jwt.verify_ps384 io.jwt.verify_ps512 io.jwt.verify_rs256 io.jwt.verify_rs384 io.jwt.verify_rs512
	io.jwt.verify_hs256 io.jwt.verify_hs384 io.jwt.verify_hs512
`

// oldBuiltins are added for Rego version 0: names that version 1 dropped, for what is still there under others.
const oldBuiltins = `
	all any re_match net.cidr_overlap set_diff
	cast_array cast_set cast_string cast_boolean cast_null cast_object
`

// profile is what one kind of policy may use. Tests have profiles of their own, with functions no policy should have.
type profile struct {
	builtins string
	extra    []function
	v0       bool // the syntax of Rego version 0 is allowed, too
}

func profileFor(cfg Config) profile {
	p := profile{builtins: edgeBuiltins, v0: cfg.RegoV0}
	if cfg.RegoV0 {
		p.builtins += oldBuiltins
	}
	if cfg.TokenBuiltins {
		p.builtins += tokenBuiltins
		p.extra = []function{guardedDecodeVerify()}
	}
	return p
}

// capabilities lists the profile's functions with OPA's declarations. No network is allowed to the type checker either.
func (p profile) capabilities() *ast.Capabilities {
	caps := &ast.Capabilities{
		Features: []string{ast.FeatureRegoV1, ast.FeatureKeywordsInRefs, ast.FeatureTemplateStrings},
		AllowNet: []string{},
	}
	if p.v0 {
		caps.Features = append(caps.Features, ast.FeatureRegoV1Import, ast.FeatureRefHeads, ast.FeatureRefHeadStringPrefixes)
		caps.FutureKeywords = []string{"contains", "every", "if", "in"}
	}
	seen := map[string]bool{}
	for _, name := range strings.Fields(p.builtins) {
		if b, ok := ast.BuiltinMap[name]; ok && !seen[name] {
			caps.Builtins = append(caps.Builtins, b)
			seen[name] = true
		}
	}
	for _, f := range p.extra {
		caps.Builtins = append(caps.Builtins, f.declaration())
	}
	return caps
}
