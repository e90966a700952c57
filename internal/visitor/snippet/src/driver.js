// The provider's driver: a file of its own, fetched when it is needed. It comes
// with the page runtime, and both run here as they run in a browser of ours.

import { files, nonce } from "./site.js";
import { failure, nothing, on, random, safe, text } from "./safe.js";
import { signal } from "./outbox.js";

let loading = null;
let worlds = null;

const trusted = safe((url) => trustedTypes.createPolicy("parley", { createScriptURL: (given) => given }).createScriptURL(url));

// load returns a promise of the two worlds. A file that could not be had may be
// asked for again.
export const load = (name) => {
  if (!loading) {
    loading = new Promise((resolve, reject) => {
      const file = Object.hasOwn(DRIVERS, name) && DRIVERS[name];
      if (!file) throw name;
      const script = document.createElement("script");
      const url = new URL(file[0], files).href;
      script.src = window.trustedTypes && trusted(url) || url;
      script.integrity = file[1];
      script.crossOrigin = "anonymous";
      script.nonce = nonce;
      on(script, "error", reject);
      on(script, "load", () => {
        const make = window.parley.driver;
        delete window.parley.driver;
        // A look numbers the signals of both worlds, and carries them on.
        const main = {}, look = { __parleyEmit: safe(signal) };
        make(main, look, random());
        worlds = [main.__parley, look.__parley];
        resolve(worlds);
      });
      document.head.appendChild(script);
    });
    loading.catch(() => {
      loading = null;
    });
  }
  return loading;
};

// call runs a function of the driver. It never rejects.
export const call = (name, fn, json) =>
  load(name).then((both) => both[fn.startsWith("look.") ? 1 : 0].call(fn, json))
    .catch(() => failure("page_load_failed", "the driver did not load"));

// boot loads the vendor's widget without a command.
export const boot = (config) => call(config.driver, "boot", text({
  arg: { settings: config.boot || {}, usual_mode: config.mode || "", wait_ms: 3e4 },
}));

// unmount takes the widget down, if the driver is here and can.
export const unmount = () => {
  if (worlds) worlds[0].call("unmount", '{"arg":{"wait_ms":1000}}').catch(nothing);
};
