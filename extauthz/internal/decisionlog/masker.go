package decisionlog

// Masker hides in whole input documents, and in results, what Log hides in its lines.
type Masker struct{ mask []pointer }

// NewMasker hides what pointers (see CheckPointer) name besides credentials.
func NewMasker(pointerTexts []string) Masker { return Masker{pointers(pointerTexts)} }

// contents are members of an input that are never kept: bodies and certificates.
var contents = pointers([]string{
	"/input/attributes/request/http/body", "/input/attributes/request/http/rawBody", "/input/parsed_body",
	"/input/attributes/source/certificate", "/input/attributes/destination/certificate",
})

// Input changes an input document, as policy.ToAny makes it, and returns pointers to what is masked and what is left out.
func (m Masker) Input(input map[string]any) (masked, erased []string) {
	masked = hide(input)
	document := map[string]any{"input": input}
	for _, list := range [][]pointer{contents, m.mask} {
		for _, p := range list {
			if p.erase(document) {
				erased = append(erased, p.text)
			}
		}
	}
	if _, kept := document["input"]; !kept {
		clear(input)
	}
	return masked, erased
}

// Result returns a copy of what a policy said without what is to be hidden.
func (m Masker) Result(result any) any {
	document := map[string]any{"result": maskResult(result, resultDepthMax)}
	for _, p := range m.mask {
		p.erase(document)
	}
	return document["result"]
}

// Text returns a text without the credentials in it.
func (m Masker) Text(text string) string { return maskText(text) }

// member goes down a tree; nil where there is no object.
func member(tree map[string]any, names ...string) map[string]any {
	for _, name := range names {
		tree, _ = tree[name].(map[string]any)
	}
	return tree
}
