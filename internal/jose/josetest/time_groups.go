package josetest

import "github.com/agentidp/agentidp/internal/jose"

// expiry are really signed tokens whose end is unclear, past, or too far away.
func (c *corpus) expiry() {
	c.reject("T", "exp missing", c.ec(newHeader(), newClaims().drop("exp")), jose.ReasonClaims, "valid for ever")
	for _, x := range []struct{ name, value, why string }{
		{"null", "null", "valid for ever"},
		{"0", "0", "some readers take it for absent"},
		{"-0", "-0", "some readers take it for absent"},
		{"0.0", "0.0", "some readers take it for absent"},
		{"0.5", "0.5", "some readers take it for absent"},
		{"-1", "-1", "some readers take it for never"},
		{"smallest int64", "-9223372036854775808", "wraps when negated"},
		{"year 1", "-62135596800", "the zero time of Go"},
		{"string", quote(seconds(290)), "not a number"},
		{"RFC 3339", `"2100-01-01T00:00:00Z"`, "not a number"},
		{"empty string", `""`, "not a number"},
		{"fraction", seconds(290) + ".5", "readers round differently"},
		{"whole fraction", seconds(290) + ".0", "not in plain spelling"},
		{"exponent", "1.79000029e9", "not in plain spelling"},
		{"exponent 0", seconds(290) + "e0", "not in plain spelling"},
		{"largest int64", "9223372036854775807", "overflows when skew is added"},
		{"int64 and one", "9223372036854775808", "overflows"},
		{"largest uint64", "18446744073709551615", "overflows to -1"},
		{"1e19", "1e19", "overflows"},
		{"1e300", "1e300", "overflows"},
		{"1e400", "1e400", "infinite"},
		{"year 10000", "253402300800", "beyond the dates of most readers"},
		{"milliseconds", seconds(290) + "000", "not seconds"},
		{"true", "true", "1 to some"},
		{"false", "false", "0 to some"},
		{"array", "[" + seconds(290) + "]", "not a number"},
		{"object", `{"$date":` + seconds(290) + `}`, "not a number"},
		{"hexadecimal", "0x6AB13C80", "not JSON"},
		{"leading zero", "0" + seconds(290), "not JSON"},
		{"plus sign", "+" + seconds(290), "not JSON"},
		{"underscore", "1_790_000_290", "not JSON"},
		{"NaN", "NaN", "compares false with everything"},
	} {
		c.reject("T", "exp "+x.name, c.ec(newHeader(), newClaims().set("exp", x.value)), jose.ReasonClaims, x.why)
	}
	old := newClaims().set("iat", seconds(-600)).set("nbf", seconds(-600))
	c.reject("T", "exp past", c.ec(newHeader(), old.set("exp", seconds(-300))), jose.ReasonExpired, "expired")
	c.reject("T", "exp past by the skew", c.ec(newHeader(), old.set("exp", seconds(-60))), jose.ReasonExpired,
		"RFC 7519 s4.1.4: no more at exp")
	c.reject("T", "exp past by more than the skew", c.ec(newHeader(), old.set("exp", seconds(-61))), jose.ReasonExpired, "expired")
	c.reject("T", "exp 1", c.ec(newHeader(), newClaims().drop("nbf").set("iat", "1").set("exp", "2")), jose.ReasonExpired,
		"expired in 1970")
	c.reject("T", "life of 10 years", c.ec(newHeader(), newClaims().set("exp", seconds(10*365*86400))), jose.ReasonLifetime,
		"longer than the issuer may grant")
	c.reject("T", "life of a second too much", c.ec(newHeader(), newClaims().set("iat", seconds(0)).set("exp", seconds(3601))), jose.ReasonLifetime,
		"longer than the issuer may grant")
	c.reject("T", "life of all time", c.ec(newHeader(), newClaims().drop("nbf").set("iat", "1").set("exp", "253402300799")), jose.ReasonLifetime,
		"overflows a time.Duration")
	c.accept("T", "exp within the skew", c.ec(newHeader(), old.set("exp", seconds(-59))), "clocks differ")
	c.accept("T", "longest life", c.ec(newHeader(), newClaims().set("iat", seconds(0)).set("exp", seconds(3600))),
		"as long as granted")
}

func (c *corpus) otherTimes() {
	for _, x := range []struct{ name, value string }{
		{"null", "null"},
		{"string", quote(seconds(-10))},
		{"0", "0"},
		{"-1", "-1"},
		{"fraction", seconds(-10) + ".0"},
		{"bool", "true"},
		{"array", "[1]"},
		{"1e9", "1e9"},
		{"milliseconds", seconds(-10) + "000"},
	} {
		c.reject("T", "nbf "+x.name, c.ec(newHeader(), newClaims().set("nbf", x.value)), jose.ReasonClaims, "not whole seconds")
		c.reject("T", "iat "+x.name, c.ec(newHeader(), newClaims().set("iat", x.value)), jose.ReasonClaims, "not whole seconds")
	}
	c.reject("T", "iat missing", c.ec(newHeader(), newClaims().drop("iat")), jose.ReasonClaims, "its life cannot be bounded")
	c.reject("T", "iat after exp", c.ec(newHeader(), newClaims().set("iat", seconds(291))), jose.ReasonClaims,
		"a negative life passes every maximum")
	c.reject("T", "iat at exp", c.ec(newHeader(), newClaims().set("iat", seconds(290))), jose.ReasonClaims, "no life at all")
	c.reject("T", "iat in the future", c.ec(newHeader(), newClaims().set("iat", seconds(61))), jose.ReasonNotYetValid,
		"made in advance")
	c.reject("T", "nbf in the future", c.ec(newHeader(), newClaims().set("nbf", seconds(61))), jose.ReasonNotYetValid, "not yet")
	c.reject("T", "nbf after exp", c.ec(newHeader(), newClaims().set("nbf", seconds(3000))), jose.ReasonClaims, "never valid")
	c.reject("T", "nbf at exp", c.ec(newHeader(), newClaims().set("nbf", seconds(290))), jose.ReasonClaims, "never valid")
	c.accept("T", "nbf within the skew", c.ec(newHeader(), newClaims().set("nbf", seconds(60))), "clocks differ")
	c.accept("T", "iat within the skew", c.ec(newHeader(), newClaims().set("iat", seconds(60))), "clocks differ")
	c.accept("T", "no nbf", c.ec(newHeader(), newClaims().drop("nbf")), "nbf is optional")
}
