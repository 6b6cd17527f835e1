package extauthz

// UseRevocations forgets the tokens that the lists in force revoke. Requests do not wait for it, and need not: each of them is checked.
func (s *Server) UseRevocations() {
	if n := s.verifier.Forget(s.options.Store.Load(), s.options.Now()); n > 0 {
		s.options.Log.Info("remembered tokens are no longer good and were forgotten", "tokens", n)
	}
}
