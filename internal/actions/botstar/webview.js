// The driver of a webview page, main world. In a webview the page speaks to
// BotStar's SDK, and the SDK to its host. The page is the top window here, so
// the host is this script.
//
// What travels between SDK and host is UNKNOWN upstream. The names below are
// those of our stand-in's SDK; they are here and nowhere else in the product.
(function webview(rt) {
  "use strict";

  const fromSDK = "bs-standin-webview";
  const fromHost = "bs-standin-host";

  const queryAll = rt.uncurry(Document.prototype.querySelectorAll);
  const post = rt.uncurry(window.postMessage);

  let inputs = null; // null until they were handed over
  // The SDK has said hello. A driver that comes late, as it does in a visitor's own
  // tab, finds it there.
  let greeted = typeof window.BotStarWebview === "function";
  let called = false; // onChatBotReady has returned
  let thrown = ""; // what onChatBotReady threw
  let sending = null; // {key, host} while a response of ours is on its way
  const waiting = []; // those who wait for greeted or called

  const wake = () => {
    for (let i = 0; i < waiting.length; i++) if (waiting[i]) waiting[i]();
  };

  const answerSDK = (message) => post(window, Object.assign({ source: fromHost }, message), location.origin === "null" ? "*" : location.origin);

  // values copies names and values that a webview may carry.
  const values = (given) => {
    const copy = {};
    const all = rt.plain(given) || {};
    const keys = Object.keys(all);
    for (let i = 0; i < keys.length; i++) {
      if (typeof all[keys[i]] === "string" || typeof all[keys[i]] === "number") copy[keys[i]] = all[keys[i]];
    }
    return copy;
  };

  const respond = (data) => {
    const host = {
      response: typeof data.response === "string" ? data.response : "",
      outputs: values(data.outputs),
      outlet: typeof data.outlet === "string" ? data.outlet : "",
    };
    if (sending !== null) {
      sending.host = host;
    } else {
      rt.emit("webview.responded", "visitor", "", Object.assign({ url: location.origin + location.pathname }, host));
    }
    answerSDK({ type: "ack", id: data.id });
  };

  rt.on(window, "message", (event) => {
    const data = event.data;
    if (event.source !== window || data === null || typeof data !== "object" || data.source !== fromSDK) return;
    if (data.type === "hello") {
      greeted = true;
      if (inputs !== null) answerSDK({ type: "inputs", values: inputs });
      wake();
    } else if (data.type === "response") {
      respond(data);
    }
  });

  // ---- readiness

  const declares = (kind, name) => {
    const metas = queryAll(document, "meta[name]");
    for (let i = 0; i < metas.length; i++) if (metas[i].getAttribute("name") === "bs:" + kind + ":" + name) return metas[i];
    return null;
  };

  const scriptErrors = () => {
    const all = rt.errors();
    let told = "";
    for (let i = 0; i < all.length; i++) {
      if (all[i].kind !== "resource") told += (told ? "; " : "") + all[i].message + (all[i].source ? " (" + all[i].source + ")" : "");
    }
    return told;
  };

  // broken says why the page is not ready: a script that failed before anything
  // else, since that is what the page's author has to mend.
  const broken = (message) => {
    const told = scriptErrors();
    return told ? rt.fail("webview_script_error", told) : rt.fail("webview_not_ready", message);
  };

  const until = (ms, done, message) => {
    if (done()) return undefined;
    return rt.until(ms, (resolve, reject) => {
      let i = 0;
      while (waiting[i]) i++;
      waiting[i] = () => {
        if (thrown) reject(rt.fail("webview_script_error", thrown));
        else if (done()) resolve();
      };
      const off = rt.onError((error) => {
        if (error.kind === "resource" && error.source.includes("static.botstar.com/")) {
          reject(rt.fail("webview_not_ready", "BotStar's SDK did not load: " + error.source));
        }
      });
      return () => {
        waiting[i] = null;
        off();
      };
    }, () => broken(message));
  };

  // wrap puts itself around the page's onChatBotReady, to know that it was
  // called and what it threw. The page has defined it by now: it must exist
  // before the deferred SDK runs.
  const wrap = () => {
    const own = window.onChatBotReady;
    if (typeof own !== "function") throw broken("the page defines no global function onChatBotReady");
    window.onChatBotReady = function () {
      try {
        return rt.apply(own, this, arguments);
      } catch (error) {
        thrown = "onChatBotReady: " + rt.say(error);
        throw error;
      } finally {
        called = thrown === "";
        wake();
      }
    };
  };

  const parsed = (ms) => {
    if (document.readyState !== "loading") return undefined;
    return rt.until(ms, (resolve) => rt.on(document, "DOMContentLoaded", resolve), () => broken("the document did not load"));
  };

  // reload loads the page again. Whoever called is answered by the next document.
  const reload = (ms) => rt.until(ms, () => {
    location.reload();
  }, () => rt.fail("webview_not_ready", "the page was not loaded again"));

  // start hands the inputs over, once, and waits until the page is ready.
  const start = async (arg) => {
    const given = values(arg.inputs);
    if (inputs !== null) {
      const same = arg.inputs === null || arg.inputs === undefined || rt.stringify(given) === rt.stringify(inputs);
      if (!same && arg.again) await reload(arg.wait_ms);
      if (same) await until(arg.wait_ms, () => called, "onChatBotReady was not called");
      return { same, first: false, url: location.href };
    }
    await parsed(arg.wait_ms);
    if (rt.errors().some((e) => e.kind === "resource" && e.source.includes("static.botstar.com/"))) {
      throw rt.fail("webview_not_ready", "BotStar's SDK did not load");
    }
    await until(arg.wait_ms, () => greeted, "the page did not load BotStar's SDK");
    wrap();
    inputs = given;
    answerSDK({ type: "inputs", values: inputs });
    await until(arg.wait_ms, () => called, "onChatBotReady was not called");
    return { same: true, first: true, url: location.href };
  };

  const sdk = () => {
    if (typeof window.BotStarWebview !== "function") throw broken("the page has no BotStarWebview");
    return window.BotStarWebview;
  };

  const getParameter = (arg) => {
    const value = sdk()("getParameter", arg.name);
    const tag = declares("input", arg.name);
    return {
      value: value === undefined || value === null ? null : String(value),
      declared: tag !== null,
      content: tag === null ? "" : tag.getAttribute("content") || "",
    };
  };

  const sendResponse = async (arg) => {
    const speak = sdk();
    sending = { key: rt.key(), host: null };
    try {
      const promise = arg.outlet
        ? speak("sendResponse", arg.response, rt.plain(arg.outputs) || {}, arg.outlet)
        : speak("sendResponse", arg.response, rt.plain(arg.outputs) || {});
      await rt.until(arg.wait_ms, (resolve, reject) => {
        Promise.resolve(promise).then(resolve, (error) => reject(rt.fail("webview_rejected", rt.say(error))));
      }, () => rt.fail("webview_rejected", "the SDK's promise was neither resolved nor rejected"));
      return { host: sending.host, url: location.origin + location.pathname };
    } finally {
      sending = null;
    }
  };

  return { start, get_parameter: getParameter, send_response: sendResponse };
});
