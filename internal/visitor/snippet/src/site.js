// What the tag tells: whose page it is, and where the gateway is.

import { random } from "./safe.js";

const script = document.currentScript; // Without one, nothing runs.
const data = script.dataset;

export const key = data.parley || "";
// ask: nothing happens before parley.consent. google: Google's consent mode
// speaks for the visitor too. given: the site answers for it.
export const mode = data.consent || "ask";
export const files = script.src;
export const base = new URL(files).origin;
// A nonce can be read as a property only.
export const nonce = script.nonce || "";

// life names this document. It is never stored.
export const life = random();

// place is the page's address without query and fragment: those may hold what
// is nobody's business.
export const place = () => (location.origin + location.pathname).slice(0, 2048);
