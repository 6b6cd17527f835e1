// Package policy is the one home of Open Policy Agent: capabilities, compilation, evaluation under a hard deadline.
package policy
