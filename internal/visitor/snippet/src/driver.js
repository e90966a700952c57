// The provider's driver: a file of its own, fetched when it is needed. It comes
// with the page runtime, and both run here as they run in a browser of ours.

import { files, nonce } from "./site.js";
import { failure, random, safe, text } from "./safe.js";
import { signal } from "./outbox.js";

const loaded = { __proto__: null }; // promises of the two worlds, by the driver's name
let policy; // of that name there can be one

// trusted is undefined where the browser or the page has no Trusted Types.
const trusted = safe((url) => (policy ||= trustedTypes.createPolicy("parley", { createScriptURL: (given) => given })).createScriptURL(url));

// load returns a promise of the two worlds. A file that could not be had may be
// asked for again.
const load = (name) => {
  if (!loaded[name]) {
    loaded[name] = new Promise((resolve, reject) => {
      const [path, integrity] = Object.hasOwn(DRIVERS, name) && DRIVERS[name];
      const url = new URL(path, files).href;
      document.head.append(Object.assign(document.createElement("script"), {
        src: trusted(url) || url,
        integrity,
        crossOrigin: "anonymous",
        nonce,
        onerror: reject,
        onload: safe(() => {
          const make = window.parley.driver;
          delete window.parley.driver;
          // A look numbers the signals of both worlds, and carries them on.
          const main = {}, look = { __parleyEmit: safe(signal) };
          make(main, look, random());
          resolve([main.__parley, look.__parley]);
        }),
      }));
    });
    loaded[name].catch(() => delete loaded[name]);
  }
  return loaded[name];
};

// call runs a function of the driver, or, by a name such as webview/start, of a
// further one of the same provider. It never rejects.
export const call = (name, path, json) => {
  const [fn, further] = path.split("/").reverse();
  return load(further ? name + "-" + further : name)
    .then((both) => both[fn.startsWith("look.") ? 1 : 0].call(fn, json))
    .catch(() => failure("page_load_failed", "no driver"));
};

// boot loads the vendor's widget without a command.
export const boot = (config) => call(config.driver, "boot", text({
  arg: { settings: config.boot || {}, usual_mode: config.mode || "", wait_ms: 3e4 },
}));

// unmount takes the widget down, if the driver is here and can.
export const unmount = () => {
  for (const name in loaded) call(name, "unmount", '{"arg":{"wait_ms":1000}}');
};
