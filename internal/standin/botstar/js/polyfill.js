// The polyfill bundle runs unless the page brought its own.
if (!window._babelPolyfill) {
  window._babelPolyfill = true;
  for (const name of Object.keys(polyfills)) {
    const module = { exports: {} };
    polyfills[name](module, module.exports, { forced: false });
  }
}
