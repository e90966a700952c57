// The frame: the conversation itself, on the widget's own origin. It asks the
// vendor for the bot, shows it, and reports to the vendor what happens.
const query = new URLSearchParams(location.search);
const host = parsed("host");
const init = parsed("initData");
const mode = query.get("mode");
const appId = location.pathname.slice(1);
const instance = crypto.randomUUID();
const visitor = identify(init.user || {});
const reporter = makeReporter();
const app = document.getElementById("app");

let report = true;
let chat = null;

begin();

function parsed(name) {
  try {
    const value = JSON.parse(query.get(name) || "{}");
    return value !== null && typeof value === "object" ? value : {};
  } catch {
    return {};
  }
}

// identify returns who the visitor is: the page's user_id, or an id that this
// origin remembers.
function identify(user) {
  if (user.user_id) {
    return { user_id: String(user.user_id) };
  }
  try {
    let id = localStorage.getItem(unknown.anonymousKey);
    if (!id) {
      id = crypto.randomUUID();
      localStorage.setItem(unknown.anonymousKey, id);
    }
    return { anonymous_id: id };
  } catch {
    return { anonymous_id: crypto.randomUUID() };
  }
}

async function begin() {
  let answer = null;
  try {
    const response = await fetch(unknown.queryPath, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(
        Object.assign(
          {
            app_id: appId,
            user_id: "",
            locale: navigator.language,
            timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
            template: "default",
            host,
            mode,
            instance,
            user: init.user,
            variables: init.variables,
            block: init.block,
          },
          visitor,
        ),
      ),
    });
    answer = response.status === 200 ? await response.json() : null;
  } catch {
    answer = null;
  }
  if (answer === null) {
    return fail();
  }
  reporter.every = answer.report_every_ms;
  chat = show(answer);
  window.addEventListener("message", receive);
  tellPage({ type: "ready", faults: answer.faults });
}

function fail() {
  const page = element("div", "error");
  page.append(element("h1", "", "This chat is not available"), element("p", "", "missing_config: no bot is published under this id."));
  app.replaceChildren(page);
  document.body.dataset.state = "error";
}

function tellPage(message) {
  if (window.parent !== window && host.origin) {
    window.parent.postMessage(Object.assign({ source: unknown.source }, message), host.origin);
  }
}

function receive(event) {
  if (event.source !== window.parent || !event.data || event.data.source !== unknown.source) {
    return;
  }
  const message = event.data;
  switch (message.type) {
    case "boot":
      report = message.report;
      document.body.dataset.branded = String(message.branded);
      document.body.dataset.state = message.open ? "open" : "closed";
      break;
    case "open":
    case "close":
      document.body.dataset.state = message.type === "open" ? "open" : "closed";
      send(message.type, { cause: message.cause });
      break;
    case "update":
      send("update", { attributes: message.attributes, variables: message.variables });
      break;
  }
}

function send(type, more) {
  if (report) {
    reporter.add(Object.assign({ type }, more));
  }
}

// makeReporter sends what happened to the vendor, numbered, so that the vendor
// has the order although requests may overtake each other. A page that is going
// away sends what is left as a beacon. `every` is in milliseconds: 0 sends each
// report at once, a negative value none.
function makeReporter() {
  const self = { every: 0, add };
  let number = 0;
  let waiting = [];
  let timer = 0;

  function add(entry) {
    if (self.every < 0) {
      return;
    }
    number += 1;
    waiting.push(Object.assign({ seq: number }, entry));
    if (self.every === 0) {
      flush();
    } else if (timer === 0) {
      timer = setTimeout(flush, self.every);
    }
  }

  function flush() {
    clearTimeout(timer);
    timer = 0;
    const body = take();
    if (body) {
      post(body, true);
    }
  }

  function post(body, keepalive) {
    fetch(unknown.eventPath, { method: "POST", body, keepalive }).catch(() => {
      if (keepalive) {
        post(body, false);
      }
    });
  }

  function take() {
    return waiting.length > 0 ? JSON.stringify({ instance, entries: waiting.splice(0) }) : "";
  }

  window.addEventListener("pagehide", () => {
    const body = take();
    if (body) {
      navigator.sendBeacon(unknown.eventPath, body);
    }
  });
  return self;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className || "";
  if (text) {
    made.textContent = text;
  }
  return made;
}

// show renders the conversation.
function show(answer) {
  const bot = answer.bot;
  document.documentElement.style.setProperty("--brand", bot.color);
  const head = element("header", "head");
  const who = element("div", "who");
  who.append(element("strong", "", bot.name), element("span", "", bot.tagline));
  const avatar = element("img", "avatar");
  avatar.src = bot.avatar;
  avatar.alt = "";
  head.append(avatar, who);
  if (mode === "livechat" || mode === "popup") {
    const shut = element("button", "shut", "–");
    shut.title = "Close";
    shut.addEventListener("click", () => tellPage({ type: "close" }));
    head.append(shut);
  }
  const list = element("main", "list");
  const form = element("form", "write");
  const input = element("input", "");
  input.placeholder = "Write a message…";
  input.setAttribute("aria-label", "Message");
  const submit = element("button", "", "Send");
  form.append(input, submit);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    say(input.value.trim());
    input.value = "";
  });
  app.replaceChildren(head, list, form, element("footer", "foot", "Powered by BotStar"));
  list.append(element("div", "day", "Today"));
  answer.messages.forEach(hear);

  function hear(message) {
    const row = element("div", "row bot");
    row.append(element("div", "bubble", message.text));
    list.append(row);
    if (message.buttons) {
      const buttons = element("div", "buttons");
      for (const button of message.buttons) {
        const made = element("button", "choice", button.title);
        made.addEventListener("click", () => press(button));
        buttons.append(made);
      }
      list.append(buttons);
    }
    list.scrollTop = list.scrollHeight;
  }

  function say(text) {
    if (!text) {
      return;
    }
    const row = element("div", "row me");
    row.append(element("div", "bubble", text));
    list.append(row);
    send("message", { text });
    hear({ text: bot.reply });
  }

  function press(button) {
    const payload = button.payload || {};
    if (payload.web_url && payload.display_mode === "internal") {
      return openWebview(button, payload, (result) => {
        if (result.response) {
          const row = element("div", "row me");
          row.append(element("div", "bubble", result.response));
          list.append(row);
        }
        hear({ text: result.outlet ? "Thank you! We go on with: " + result.outlet + "." : "Thank you!" });
      });
    }
    if (payload.web_url) {
      window.open(new URL(payload.web_url, host.href || location.href), "_blank", "noopener");
      return undefined;
    }
    return say(button.value || button.title);
  }

  return { hear, say };
}

// openWebview shows a page inside the chat, gives it its inputs, and takes its
// response. It is the host of the webview SDK.
function openWebview(button, payload, done) {
  const url = new URL(payload.web_url, host.href || location.href).href;
  const modal = element("div", "modal " + (payload.webview_size || "full"));
  const bar = element("div", "bar");
  const shut = element("button", "shut", "×");
  bar.append(element("strong", "", button.title), shut);
  const page = element("iframe", "");
  page.name = "bs-webview";
  modal.append(bar, page);

  let result = null;
  const close = () => {
    window.removeEventListener("message", hearPage);
    modal.remove();
    if (result) {
      done(result);
    }
  };
  const answer = (message) => page.contentWindow.postMessage(Object.assign({ source: unknown.webviewHost }, message), "*");
  const hearPage = (event) => {
    if (event.source !== page.contentWindow || !event.data || event.data.source !== unknown.webviewSource) {
      return;
    }
    const message = event.data;
    if (message.type === "hello") {
      answer({ type: "inputs", values: payload.inputs || {}, instance });
    } else if (message.type === "response") {
      result = { response: message.response, outputs: message.outputs, outlet: message.outlet };
      answer({ type: "ack", id: message.id });
    } else if (message.type === "closed") {
      close();
    }
  };
  window.addEventListener("message", hearPage);
  shut.addEventListener("click", close);
  app.append(modal);
  page.src = url;
}
