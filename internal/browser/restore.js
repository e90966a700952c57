// Fills the stores of one origin, given as JSON: {origin, top, crossed, local,
// session, number}, the stores as lists of pairs. It runs in the isolated world,
// before any script of the page, in every document of the tab: in those of the
// origin, below the same page, it fills the stores that are empty, and says so.
((text) => {
  const given = JSON.parse(text);
  if (self.origin !== given.origin) return;
  const [scheme, domain] = given.top.split("://");
  const inside = (origin) => {
    try {
      const { protocol, hostname } = new URL(origin);
      return protocol === scheme + ":" && (hostname === domain || hostname.endsWith("." + domain));
    } catch {
      return false; // an origin that has no name
    }
  };
  const above = [...location.ancestorOrigins];
  if (!inside(above.at(-1) ?? self.origin)) return;
  if (inside(self.origin) && above.some((origin) => !inside(origin)) !== given.crossed) return;
  for (const [name, pairs] of [["localStorage", given.local], ["sessionStorage", given.session]]) {
    try {
      const area = self[name];
      if (area.length > 0) continue;
      for (const [key, value] of pairs) area.setItem(key, value);
    } catch {} // A page may be refused its stores, or have no room in them.
  }
  globalThis.__parleyFilled(String(given.number));
})
