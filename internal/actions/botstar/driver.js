// The driver of BotStar's widget, main world. It speaks to the vendor's one
// function and listens with callbacks of its own. Everything here counts as
// page data: it holds no secret.
//
// "Ready" means: BotStarUp is true, and container and frame exist, and the
// frame has loaded. Never "the function exists": the stub exists from the
// start, and script.onload of widget.js comes long before the UI chunk.
(function driver(rt) {
  "use strict";

  const scriptSource = "https://widget.botstar.com/static/js/widget.js";
  const frameSelector = 'iframe[name="bs-chatbot-widget-frame"]';
  const containerSelector = '[id^="bs-chatbot-widget-container"]';
  const scriptSelector = 'script[src*="widget.botstar.com/static/js/widget.js"]';
  const chunkSelector = 'script[src*="d1a354cq788jiu.cloudfront.net/embed/"]';
  const targetClass = "chatbot-container";

  const query = rt.uncurry(Document.prototype.querySelector);
  const queryAll = rt.uncurry(Document.prototype.querySelectorAll);
  const create = rt.uncurry(Document.prototype.createElement);
  const URLOf = URL;
  const ObserverOf = MutationObserver;

  // ---- what is on the page

  const up = () => window.BotStarUp === true || window.ChatbotUp === true;

  const api = () => {
    if (typeof window.BotStarApi === "function") return window.BotStarApi;
    if (typeof window.ChatbotApi === "function") return window.ChatbotApi;
    return null;
  };

  let cachedFrame = null;
  const frame = () => {
    if (cachedFrame === null || !cachedFrame.isConnected) cachedFrame = query(document, frameSelector);
    return cachedFrame;
  };

  // loadedFrom is the address that each frame has loaded. A frame whose address
  // has changed since is loading.
  const loadedFrom = new WeakMap();
  const ready = () => {
    const element = frame();
    return element !== null && up() && loadedFrom.get(element) === element.src;
  };

  // address reads the frame's address. The last one is kept, since every action
  // needs it.
  let lastAddress = { src: "", appId: "", mode: "livechat", initData: {} };
  const address = () => {
    const element = frame();
    const src = element === null ? "" : element.src;
    if (src === lastAddress.src) return lastAddress;
    const read = { src, appId: "", mode: "livechat", initData: {} };
    try {
      const url = new URLOf(src);
      read.appId = url.pathname.slice(1);
      read.mode = url.searchParams.get("mode") || "livechat";
      read.initData = rt.plain(rt.parse(url.searchParams.get("initData") || "{}")) || {};
    } catch {
      // An address that cannot be read says nothing.
    }
    lastAddress = read;
    return read;
  };

  const windowed = (mode) => mode === "livechat" || mode === "popup";

  // ---- callbacks

  let isOpen = false;
  let wanted = null; // {open, key, done} while we wait for a callback of ours
  let listening = false;
  let listeningIn = null; // the mount that our listeners belong to
  let pageCallbacks = []; // what the page itself had queued: it survives a remount

  const heard = (open) => () => {
    const ours = wanted !== null && wanted.open === open ? wanted : null;
    if (isOpen !== open) {
      isOpen = open;
      rt.emit(open ? "widget.opened" : "widget.closed", ours ? "api" : "visitor", ours ? ours.key : "");
    }
    if (ours) ours.done();
  };
  const opened = heard(true);
  const closed = heard(false);

  // listen registers our callbacks, once per mount: with the widget, or in the
  // queue of its stub.
  const listen = () => {
    const call = api();
    if (call === null || listening) return;
    listening = true;
    const queue = call.q;
    if (!up() && queue) {
      for (let i = 0; i < queue.length; i++) {
        const entry = queue[i];
        if (entry && (entry[0] === "onOpen" || entry[0] === "onClose")) pageCallbacks.push([entry[0], entry[1]]);
      }
    }
    call("onOpen", opened);
    call("onClose", closed);
  };

  // mounted is told of every frame of the widget that has loaded.
  let known = {}; // what the widget was last given, by key
  let announced = null;
  let remounting = false;
  let installedBy = ""; // the key of the command that put the snippet in, or ""
  const mounted = (element) => {
    const home = element.closest(containerSelector + ",." + targetClass) || element.parentElement;
    if (listeningIn !== null && listeningIn !== home) {
      // The page took the widget down by itself and mounted another one.
      listening = false;
      if (isOpen) closed();
    }
    listeningIn = home;
    listen();
    if (announced === home) return;
    announced = home;
    const at = address();
    rt.emit("widget.ready", installedBy === "" ? "visitor" : "api", installedBy, { app_id: at.appId, mode: at.mode, again: remounting });
  };

  // A frame's load does not bubble, but it can be captured. A frame that is put
  // in before it has an address loads an empty document first.
  rt.on(document, "load", (event) => {
    const element = event.target;
    if (element.nodeName !== "IFRAME" || element.name !== "bs-chatbot-widget-frame" || element.src === "") return;
    loadedFrom.set(element, element.src);
    if (up()) mounted(element);
  }, true);

  rt.on(document, "DOMContentLoaded", () => listen());

  // A driver that comes late, as it does in a visitor's own tab, may find a frame
  // that has loaded already, and a window that is open.
  const late = frame();
  if (late !== null && late.src !== "" && performance.getEntriesByName(late.src).length > 0) {
    loadedFrom.set(late, late.src);
    isOpen = windowed(address().mode) && late.getBoundingClientRect().height > 1 &&
      late.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    if (up()) mounted(late);
  }

  // ---- waiting

  const documentParsed = (ms) => {
    if (document.readyState !== "loading") return undefined;
    return rt.until(ms, (resolve) => rt.on(document, "DOMContentLoaded", resolve), () => rt.fail("page_load_failed", "the document did not load"));
  };

  // ofWidget reports whether an error of the page is the widget's: its scripts
  // did not load, its chunk did not, or nothing else runs here. Errors of a
  // script from another origin come without a source.
  const ofWidget = (error) => {
    if (error.kind === "resource") {
      return error.source.includes("widget.botstar.com/static/js/") || error.source.includes("d1a354cq788jiu.cloudfront.net/embed/");
    }
    if (error.source.includes("widget.botstar.com") || error.source.includes("d1a354cq788jiu.cloudfront.net")) return true;
    if (error.message.includes("Loading chunk ") || error.message.includes("Widget configuration does not exist")) return true;
    return alone();
  };

  // alone reports whether no script but the widget's is on the page.
  const alone = () => {
    const scripts = queryAll(document, "script");
    for (let i = 0; i < scripts.length; i++) {
      const source = scripts[i].src;
      if (!source.includes("widget.botstar.com/static/js/") && !source.includes("d1a354cq788jiu.cloudfront.net/embed/")) return false;
    }
    return true;
  };

  const whyNotReady = () => {
    const all = rt.errors();
    let told = "";
    for (let i = 0; i < all.length && told.length < 300; i++) told += "; " + all[i].message + (all[i].source ? " (" + all[i].source + ")" : "");
    return rt.fail("widget_not_ready", "script: " + (query(document, scriptSelector) !== null) + ", up: " + up() +
      ", frame: " + (frame() !== null) + ", frame loaded: " + (frame() !== null && loadedFrom.get(frame()) === frame().src) + told);
  };

  // broken is true when the widget's scripts have failed, so that waiting is no
  // use.
  let broken = false;
  rt.onError((error) => {
    if (!ready() && ofWidget(error)) broken = true;
  });

  const untilReady = (ms) => {
    if (ready()) return undefined;
    return rt.until(ms, (resolve, reject) => {
      const offLoad = rt.on(document, "load", () => {
        if (ready()) resolve();
      }, true);
      const offError = rt.onError((error) => {
        if (!ofWidget(error)) return;
        reject(error.kind === "resource"
          ? rt.fail("widget_not_ready", "the widget's script did not load: " + error.source)
          : rt.fail("widget_failed", error.message));
      });
      return () => {
        offLoad();
        offError();
      };
    }, whyNotReady);
  };

  const needReady = () => {
    if (!ready()) throw rt.fail("not_booted", "the widget is not ready on this page");
  };

  // ---- mounting and taking down

  const targets = () => queryAll(document, "." + targetClass);

  const needTarget = (mode) => {
    if (mode === "inline" && targets().length === 0) {
      throw rt.fail("no_inline_target", "the page has no element of the class " + targetClass);
    }
  };

  // install puts BotStar's own snippet in, with the settings in its config. The
  // entry's merge would mangle a list there, so tags go through the queue.
  const install = (settings) => {
    const config = rt.plain(settings);
    const tags = config.user && config.user.tags;
    if (tags) delete config.user.tags;
    window.BotStar = config;
    window.BotStarApi = function () {
      window.BotStarApi.q.push(arguments);
    };
    window.BotStarApi.q = [];
    if (tags) window.BotStarApi("boot", rt.plain(settings));
    listening = false;
    listen();
    for (let i = 0; i < pageCallbacks.length; i++) window.BotStarApi(pageCallbacks[i][0], pageCallbacks[i][1]);
    const script = create(document, "script");
    script.async = true;
    script.src = scriptSource;
    (document.head || document.documentElement).appendChild(script);
  };

  // takeDown removes everything of the widget, so that its script can run
  // again. BotStar has no call for it.
  const takeDown = (key) => {
    if (isOpen) {
      isOpen = false;
      rt.emit("widget.closed", "api", key);
    }
    const gone = queryAll(document, [scriptSelector, chunkSelector, containerSelector].join(","));
    for (let i = 0; i < gone.length; i++) gone[i].remove();
    const inline = targets();
    for (let i = 0; i < inline.length; i++) {
      if (inline[i].querySelector(frameSelector) !== null) inline[i].replaceChildren();
    }
    const globals = ["BotStarApi", "BotStar", "BotStarUp", "ChatbotApi", "Chatbot", "ChatbotUp", "BSWidgetClientJsonp"];
    for (let i = 0; i < globals.length; i++) {
      if (!Reflect.deleteProperty(window, globals[i])) window[globals[i]] = undefined;
    }
    cachedFrame = null;
    listening = false;
    listeningIn = null;
    announced = null;
    installedBy = "";
    broken = false;
    known = {};
  };

  // mount installs and waits. A mount that is only slow is left alone when the
  // time is over: its scripts would run anyway, and the next boot finds them.
  const mount = async (settings, ms) => {
    installedBy = rt.key();
    known = rt.plain(settings);
    try {
      install(settings);
      await untilReady(ms);
    } catch (thrown) {
      if (broken) takeDown(rt.key());
      throw thrown;
    }
  };

  // ---- settings

  const sameValue = (a, b) => rt.stringify(a) === rt.stringify(b);

  // differs reports whether a part of what is wanted is not what the widget
  // has: every key that is wanted counts, others do not.
  const differs = (want, have) => {
    if (want === undefined || want === null) return false;
    if (have === undefined || have === null) return true;
    if (typeof want !== "object" || Array.isArray(want)) return !sameValue(want, have);
    const keys = Object.keys(want);
    for (let i = 0; i < keys.length; i++) if (!sameValue(want[keys[i]], have[keys[i]])) return true;
    return false;
  };

  const current = () => ({
    user: Object.assign({}, address().initData.user, known.user),
    variables: Object.assign({}, address().initData.variables, known.variables),
    block: known.block || address().initData.block,
  });

  // together lays what is wanted over what the widget has, unless that is
  // another person's.
  const together = (have, want) => {
    if (have && want && have.user_id && want.user_id && have.user_id !== want.user_id) return want;
    return Object.assign({}, have, want);
  };

  // over returns what to boot with: the settings over what the widget has, since
  // each field that is given replaces the old one, as far as anybody knows.
  const over = (have, mode, settings) => {
    const given = {
      appId: settings.appId,
      mode,
      user: together(have.user, settings.user),
      variables: Object.assign({}, have.variables, settings.variables),
    };
    if (settings.block || have.block) given.block = settings.block || have.block;
    return given;
  };

  // hand gives the settings to a running widget, and waits when that makes its
  // frame load again.
  const hand = async (settings, ms) => {
    const before = frame();
    const src = before.src;
    const given = over(current(), address().mode, settings);
    api()("boot", given);
    await settled(before, src);
    await untilReady(ms);
    known = rt.plain(given);
    // Whether a widget that was booted again keeps its listeners is not known.
    // A second registration is harmless: a repeated callback changes nothing.
    listening = false;
    listen();
  };

  // configured is what the page itself has told a widget that is not there yet.
  // It is null where that cannot be known: a link's parameter or a boot in the
  // queue may tell more.
  const configured = () => {
    const config = rt.plain(window.BotStar || window.Chatbot);
    const call = api();
    if (!config || typeof config !== "object" || call === null || !call.q || location.search.includes("bs_ref=")) return null;
    for (let i = 0; i < call.q.length; i++) if (call.q[i] && call.q[i][0] === "boot") return null;
    return config;
  };

  // enqueue gives the settings to the page's own stub, as long as the widget has
  // not drawn its frame: the frame then loads once, with the settings, and not
  // first for a visitor whom nobody knows. It reports whether it did so.
  const enqueue = (settings) => {
    if (frame() !== null) return false;
    const have = configured();
    if (have === null || settings.mode && settings.mode !== (have.mode || "livechat")) return false;
    if (settings.appId === have.appId && !differs(settings.user, have.user) &&
      !differs(settings.variables, have.variables) && !differs(settings.block, have.block)) return false;
    listen();
    api()("boot", over(have, have.mode || "livechat", settings));
    return true;
  };

  // settled resolves when the frame has begun to change, or after a moment in
  // which it did not.
  const settled = (before, src) => {
    if (frame() !== before || before.src !== src) return undefined;
    return rt.until(50, (resolve) => {
      const observer = new ObserverOf(() => {
        if (frame() !== before || before.src !== src) resolve();
      });
      observer.observe(document.documentElement, { subtree: true, childList: true, attributes: true, attributeFilter: ["src"] });
      const timer = rt.later(resolve, 40);
      return () => {
        clearTimeout(timer);
        observer.disconnect();
      };
    }, () => undefined);
  };

  const answer = (changed, sent) => {
    const at = address();
    return { changed, sent, installed: installedBy !== "", app_id: at.appId, mode: at.mode, src: at.src };
  };

  // ---- the functions

  const boot = async (arg) => {
    const settings = rt.plain(arg.settings);
    await documentParsed(arg.wait_ms);
    if (broken && !ready()) takeDown(rt.key()); // What failed is as good as not there.
    const present = up() || query(document, scriptSelector) !== null || frame() !== null;
    if (!present) {
      if (!settings.mode) settings.mode = arg.usual_mode;
      needTarget(settings.mode);
      await mount(settings, arg.wait_ms);
      return answer(true, "config");
    }
    const queued = enqueue(settings);
    await untilReady(arg.wait_ms);
    const at = address();
    if (settings.mode && settings.mode !== at.mode) {
      throw rt.fail("mode_conflict", "the widget runs in the mode " + at.mode + ", not " + settings.mode);
    }
    const have = current();
    if (settings.appId === at.appId && !differs(settings.user, have.user) &&
      !differs(settings.variables, have.variables) && !differs(settings.block, have.block)) {
      return answer(queued, queued ? "boot" : "");
    }
    // The page's own boot may have come after ours, and then ours comes again.
    await hand(settings, arg.wait_ms);
    return answer(true, "boot");
  };

  const toggle = async (open, arg) => {
    needReady();
    const mode = address().mode;
    if (!windowed(mode)) throw rt.fail("mode_not_supported", "the mode " + mode + " has no window that opens and closes");
    listen();
    if (isOpen === open) return { open, changed: false };
    await rt.until(arg.wait_ms, (resolve) => {
      wanted = { open, key: rt.key(), done: resolve };
      api()(open ? "open" : "close");
      return () => {
        wanted = null;
      };
    }, () => rt.fail("not_confirmed", "the widget did not call " + (open ? "onOpen" : "onClose")));
    return { open, changed: true };
  };

  const update = (arg) => {
    needReady();
    const attributes = rt.plain(arg.attributes);
    api()("update", attributes);
    known = Object.assign({}, known, { user: together(current().user, attributes) });
    return { sent: true };
  };

  const setMode = async (arg) => {
    needReady();
    const at = address();
    const from = at.mode;
    let element = null;
    if (arg.settings.mode === "inline") {
      if (arg.selector) {
        try {
          element = query(document, arg.selector);
        } catch {
          throw rt.fail("schema_violation", "the selector is not CSS", "/params/selector");
        }
        if (element === null) throw rt.fail("no_inline_target", "no element matches the selector");
      } else {
        needTarget("inline");
      }
    }
    const settings = rt.plain(arg.settings);
    if (from === settings.mode && (element === null || element.contains(frame()))) {
      listen();
      return { from, mode: from, app_id: at.appId, remounted: false, listening };
    }
    const have = current();
    settings.appId = settings.appId || at.appId;
    settings.user = Object.assign({}, have.user, settings.user);
    settings.variables = Object.assign({}, have.variables, settings.variables);
    settings.block = settings.block || have.block;
    remounting = true;
    try {
      takeDown(rt.key());
      if (element !== null) element.classList.add(targetClass);
      await mount(settings, arg.wait_ms);
    } finally {
      remounting = false;
    }
    const now = address();
    return { from, mode: now.mode, app_id: now.appId, remounted: true, listening };
  };

  // restore makes a new page be as the session's last one was: one call, so that
  // a session comes back fast. A widget of the page's own comes up in the page's
  // mode first, and is mounted again when that is another one.
  const restore = async (arg) => {
    const mode = arg.settings.mode;
    const settings = rt.plain(arg.settings);
    delete settings.mode;
    await boot({ settings, usual_mode: mode, wait_ms: arg.wait_ms });
    if (mode !== address().mode) await setMode({ settings: arg.settings, selector: "", wait_ms: arg.wait_ms });
    listen();
    if (arg.open && windowed(address().mode)) await toggle(true, arg);
    return Object.assign(answer(true, "config"), { open: isOpen });
  };

  // unmount takes the widget down. One that is still loading is waited for,
  // since its scripts would mount it after all.
  const unmount = async (arg) => {
    if (query(document, scriptSelector) !== null && !ready()) {
      try {
        await untilReady(arg.wait_ms);
      } catch {
        // Whatever is there is taken down.
      }
    }
    const at = address();
    const was = { mounted: up() || frame() !== null, app_id: at.appId, mode: at.mode };
    takeDown(rt.key());
    return was;
  };

  // forget removes what carries the widget's name from the page's own origin: who
  // made it is not known, so nothing else is touched. The frame's own storage is
  // out of a page's reach.
  const ours = /^(botstar|bs[-_]?chatbot|bs[-_]?widget)/i;
  const forget = () => {
    let removed = 0;
    for (const kind of ["localStorage", "sessionStorage"]) {
      try {
        for (const name of Object.keys(window[kind])) {
          if (!ours.test(name)) continue;
          window[kind].removeItem(name);
          removed++;
        }
      } catch {
        // The page has no storage.
      }
    }
    for (const entry of document.cookie.split("; ")) {
      const name = entry.split("=")[0];
      if (!ours.test(name)) continue;
      expire(name);
      removed++;
    }
    return { removed };
  };

  // expire removes a cookie, whichever domain above the page's it was set for.
  const expire = (name) => {
    const parts = location.hostname.split(".");
    const ended = name + "=; path=/; max-age=0";
    document.cookie = ended;
    for (let i = 0; i < parts.length; i++) document.cookie = ended + "; domain=" + parts.slice(i).join(".");
  };

  const state = () => {
    const call = api();
    return {
      up: up(),
      ready: ready(),
      listening,
      open: isOpen,
      queue: call !== null && call.q && !ready() ? call.q.length : 0,
      errors: rt.errors().length,
    };
  };

  return {
    boot,
    open: (arg) => toggle(true, arg),
    close: (arg) => toggle(false, arg),
    update,
    listen: () => {
      listen();
      return { listening };
    },
    set_mode: setMode,
    restore,
    unmount,
    forget,
    state,
  };
});
