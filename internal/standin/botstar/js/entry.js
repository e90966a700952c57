// The entry script, widget.js. It reads the page's configuration, prepares the
// place to render into, and fetches the interface as chunk 0.
const base = window.BotStar ? "BotStar" : "Chatbot";

if (!window[base + "Up"]) {
  start(window[base]);
}

function start(page) {
  if (!page) {
    throw new Error("Widget configuration does not exist!");
  }
  const config = merge(fromLink(location.search), page);
  config.mode = config.mode || "livechat";
  const selector = config.mode === "inline" ? ".chatbot-container" : config.selector;
  const widget = {
    base,
    isBrandedBot: base === "Chatbot",
    config,
    headless: !!selector || config.mode === "fullpage" || config.mode === "inline",
    own: !selector,
  };
  ensureQueue();
  window[base + "Up"] = true;
  whenParsed(() => {
    widget.targets = selector ? emptied(selector) : [container(config.mode)];
    if (widget.targets.length > 0) {
      loadChunk(0).then((modules) => modules.mount(widget));
    }
  });
}

// fromLink reads ?bs_ref=block:…;user:field:value;variables:name:value. A part
// of another form is skipped; growth is known and stored nowhere.
function fromLink(search) {
  const config = {};
  const id = /^block:(s[a-fA-F0-9]{8}-(?:[a-fA-F0-9]{4}-){3}[a-fA-F0-9]{12})$/;
  for (const part of (new URLSearchParams(search).get("bs_ref") || "").split(";")) {
    const block = id.exec(part);
    const field = /^(user|variables):([^:]+):(.+)$/s.exec(part);
    if (block) {
      config.block = block[1];
    } else if (field) {
      config[field[1]] = config[field[1]] || {};
      config[field[1]][field[2]] = field[3];
    }
  }
  return config;
}

// merge copies the page's values over those of the link, deeply. Arrays are
// walked like objects, so ["a"] arrives as {"0": "a"}; the real entry does so.
function merge(into, from) {
  for (const key of Object.keys(from)) {
    if (key === "__proto__") {
      continue;
    }
    const value = from[key];
    if (value !== null && typeof value === "object") {
      const old = into[key];
      into[key] = merge(old !== null && typeof old === "object" ? old : {}, value);
    } else {
      into[key] = value;
    }
  }
  return into;
}

// ensureQueue keeps the page's stub, or makes one for a page without.
function ensureQueue() {
  const name = base + "Api";
  if (typeof window[name] !== "function") {
    const stub = function () {
      stub.q.push(arguments);
    };
    window[name] = stub;
  }
  window[name].q = window[name].q || [];
}

function whenParsed(then) {
  if (document.readyState === "loading") {
    document.addEventListener("DOMContentLoaded", then, { once: true });
  } else {
    then();
  }
}

function emptied(selector) {
  const targets = Array.from(document.querySelectorAll(selector));
  for (const target of targets) {
    target.textContent = "";
  }
  return targets;
}

function container(mode) {
  const c = build.classes;
  const element = document.createElement("div");
  element.id = c["bs-chatbot-widget-container"];
  element.className = [c["website-chat-plugin"], c[mode]].concat(mode === "fullpage" ? [c.active] : []).join(" ");
  document.body.appendChild(element);
  return element;
}

// loadChunk fetches a chunk by script tag, and gives its modules.
function loadChunk(number) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    const fail = () => {
      clearTimeout(timer);
      script.onerror = script.onload = null;
      const error = new Error("Loading chunk " + number + " failed.");
      console.error(error.message);
      reject(error);
    };
    let modules;
    const before = window.BSWidgetClientJsonp;
    window.BSWidgetClientJsonp = (numbers, loaded) => {
      if (numbers.includes(number)) {
        modules = loaded;
      } else if (before) {
        before(numbers, loaded);
      }
    };
    script.async = true;
    script.charset = "utf-8";
    script.timeout = 120000;
    script.src = "//" + build.chunkHost + "/embed/" + number + ".chunk." + build.chunks[number] + ".js";
    script.onerror = fail;
    script.onload = () => {
      clearTimeout(timer);
      if (modules) {
        resolve(modules);
      } else {
        fail();
      }
    };
    const timer = setTimeout(fail, script.timeout);
    document.head.appendChild(script);
  });
}
