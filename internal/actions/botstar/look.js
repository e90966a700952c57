// The driver of BotStar's widget, isolated world: it looks at the document and
// touches nothing. The page's scripts cannot reach it, so it is what an effect
// is proved with.
(function look(rt) {
  "use strict";

  const frameSelector = 'iframe[name="bs-chatbot-widget-frame"]';
  const containerSelector = '[id^="bs-chatbot-widget-container"]';
  const launcherSelector = '[class^="bs-chatbot-fab"]';

  const loadedFrom = new WeakMap();
  rt.on(document, "load", (event) => {
    const element = event.target;
    if (element.nodeName === "IFRAME" && element.name === "bs-chatbot-widget-frame" && element.src !== "") loadedFrom.set(element, element.src);
  }, true);

  // One that has loaded before this driver came: see driver.js.
  const late = document.querySelector(frameSelector);
  if (late !== null && late.src !== "" && performance.getEntriesByName(late.src).length > 0) loadedFrom.set(late, late.src);

  // visible reports whether a person could see the element.
  const visible = (element) => {
    if (element === null || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) return false;
    const box = element.getBoundingClientRect();
    return box.width > 1 && box.height > 1;
  };

  let lastSrc = null;
  let lastRead = null;
  const read = (src) => {
    if (src === lastSrc) return lastRead;
    const parts = { app_id: "", mode: "", init_data: "" };
    try {
      const url = new URL(src);
      parts.app_id = url.pathname.slice(1);
      parts.mode = url.searchParams.get("mode") || "livechat";
      parts.init_data = url.searchParams.get("initData") || "";
    } catch {
      // An address that cannot be read says nothing.
    }
    lastSrc = src;
    lastRead = parts;
    return parts;
  };

  const widget = () => {
    const frames = document.querySelectorAll(frameSelector);
    const frame = frames.length > 0 ? frames[0] : null;
    const containers = document.querySelectorAll(containerSelector);
    const src = frame === null ? "" : frame.src;
    const parts = read(src);
    let homes = 0;
    const targets = document.querySelectorAll(".chatbot-container");
    for (const target of targets) if (target.querySelector(frameSelector) !== null) homes++;
    let modeClass = false;
    if (containers.length > 0) {
      for (const name of containers[0].classList) if (name === parts.mode || name.startsWith(parts.mode + "_")) modeClass = true;
    }
    return {
      containers: containers.length,
      targets: homes,
      frames: frames.length,
      src,
      loaded: frame !== null && loadedFrom.get(frame) === src,
      app_id: parts.app_id,
      mode: parts.mode,
      init_data: parts.init_data,
      mode_class: modeClass,
      visible: visible(frame),
      launcher: visible(document.querySelector(launcherSelector)),
    };
  };

  // look.widget tells what is there. With want, it first waits until the window
  // is so, or the time is over: an animation may still run.
  const lookWidget = async (arg) => {
    const seen = widget();
    if (!arg.want || seen.frames === 0 || seen.visible === (arg.want === "open")) return seen;
    await rt.until(arg.wait_ms, (resolve) => {
      const check = () => {
        if (visible(document.querySelector(frameSelector)) === (arg.want === "open")) resolve();
      };
      const observer = new MutationObserver(check);
      observer.observe(document.documentElement, { subtree: true, childList: true, attributes: true, attributeFilter: ["class", "style", "hidden"] });
      const offs = [
        rt.on(document, "transitionend", check, true),
        rt.on(document, "animationend", check, true),
      ];
      return () => {
        observer.disconnect();
        for (const off of offs) off();
      };
    }, () => null).catch(() => null);
    return widget();
  };

  // sight goes with every callback of the window: what it tells, seen from here.
  const sight = (name) => {
    if (name !== "widget.opened" && name !== "widget.closed") return undefined;
    return { open: visible(document.querySelector(frameSelector)), launcher: visible(document.querySelector(launcherSelector)) };
  };

  // look.kept counts what carries the widget's name in the page's own origin.
  const kept = () => {
    const ours = /^(botstar|bs[-_]?chatbot|bs[-_]?widget)/i;
    const names = document.cookie.split("; ");
    for (const kind of ["localStorage", "sessionStorage"]) {
      try {
        names.push(...Object.keys(window[kind]));
      } catch {
        // The page has no storage.
      }
    }
    return { kept: names.filter((name) => ours.test(name)).length };
  };

  return { "look.widget": lookWidget, "look.kept": kept, sight };
});
