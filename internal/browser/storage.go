package browser

import "time"

// Storage is what the sites of a session have stored in its browser context:
// enough to go on with the visitor in another browser. All of it is page data,
// and personal.
type Storage struct {
	// Cookies are all cookies of the browser context.
	Cookies []Cookie `json:"cookies,omitempty"`
	// Origins are the stores of the documents in the tab, frames included.
	Origins []Origin `json:"origins,omitempty"`
}

// Empty reports whether nothing is stored.
func (s Storage) Empty() bool { return len(s.Cookies) == 0 && len(s.Origins) == 0 }

// Cookie is a cookie of a browser context.
type Cookie struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	// Domain is a host name. With a dot in front, its subdomains get the cookie
	// too.
	Domain string `json:"domain"`
	Path   string `json:"path"`
	// Expires is when it expires. Zero means with the session.
	Expires  time.Time `json:"expires,omitzero"`
	HTTPOnly bool      `json:"http_only,omitempty"`
	Secure   bool      `json:"secure,omitempty"`
	// SameSite is Strict, Lax or None, or "" when the server did not say.
	SameSite string `json:"same_site,omitempty"`
	// Top is the site of the page that the cookie is kept for, when it is kept
	// for one (a partitioned cookie), else "".
	Top string `json:"top,omitempty"`
	// Crossed says of such a cookie that a frame of another site was between
	// the page and the cookie's owner, or that the owner is such a frame.
	Crossed bool `json:"crossed,omitempty"`
}

// Origin is what the documents of an origin have stored.
type Origin struct {
	// Origin is the scheme and the host, with the port unless it is the usual
	// one.
	Origin string `json:"origin"`
	// Top is the site of the page in the tab: a scheme and a domain. A frame of
	// another site has stores of its own below each site.
	Top string `json:"top"`
	// Crossed says that a frame of another site is between the page and the
	// document, which then has stores of its own too.
	Crossed bool `json:"crossed,omitempty"`
	// Local is its localStorage, and Session its sessionStorage.
	Local   map[string]string `json:"local,omitempty"`
	Session map[string]string `json:"session,omitempty"`
}
