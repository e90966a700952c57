package browser

import "net/netip"

// Public reports whether an address is one that a browser may connect to.
func Public(a netip.Addr) bool { return public(a) }

// public reports whether a browser may connect to the address: a global
// unicast address that belongs to nobody's inside. An address that hides
// another one, as NAT64 does, counts as what it hides.
func public(a netip.Addr) bool {
	a = a.Unmap()
	switch {
	case !a.IsValid(), a.Zone() != "":
		return false
	case a.Is4():
		return a.IsGlobalUnicast() && !a.IsPrivate() && !anyHas(a, notPublic4())
	case nat64().Contains(a):
		raw := a.As16()
		return public(netip.AddrFrom4([4]byte(raw[12:16])))
	default:
		return globalUnicast6().Contains(a) && !anyHas(a, notPublic6())
	}
}

func anyHas(a netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func nat64() netip.Prefix { return netip.MustParsePrefix("64:ff9b::/96") }

func globalUnicast6() netip.Prefix { return netip.MustParsePrefix("2000::/3") }

// notPublic4 is the IPv4 part of the IANA registry of special addresses, as far
// as netip does not know it.
func notPublic4() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),       // this network
		netip.MustParsePrefix("100.64.0.0/10"),   // carrier-grade NAT
		netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments
		netip.MustParsePrefix("192.0.2.0/24"),    // documentation
		netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays
		netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
		netip.MustParsePrefix("198.51.100.0/24"), // documentation
		netip.MustParsePrefix("203.0.113.0/24"),  // documentation
		netip.MustParsePrefix("240.0.0.0/4"),     // reserved, and broadcast
	}
}

// notPublic6 is what is not public within 2000::/3.
func notPublic6() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("2001::/23"),     // protocol assignments, Teredo
		netip.MustParsePrefix("2001:db8::/32"), // documentation
		netip.MustParsePrefix("2002::/16"),     // 6to4: it hides an IPv4 address
		netip.MustParsePrefix("3fff::/20"),     // documentation
	}
}
