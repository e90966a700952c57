// puppeteer-core: a number of held pages in one browser, no bus. Each has a
// context of its own, as puppeteer-cluster's CONCURRENCY_CONTEXT makes them.
import puppeteer from 'puppeteer-core';
import {atOnce, serve} from './contend.mjs';
import {launch, launchFull} from './chromium.mjs';
import * as inPage from './page.mjs';

async function visit(browser, setup, user) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  await page.goto(setup.url);
  await page.evaluate(inPage.boot, {appId: setup.app_id, user});
  return {page, open: false};
}

async function toggle(held) {
  const what = held.open ? 'close' : 'open';
  const heard = await held.page.evaluate(inPage.say, what);
  if (heard !== what) throw new Error(`asked to ${what}, heard ${heard}`);
  held.open = !held.open;
}

// memory opens the pages in every round, in a browser that is new.
const memory = (options) => async (setup) => {
  let browser;
  const clear = async () => {
    await browser?.close();
    browser = undefined;
  };
  return {
    prepare: async (order) => {
      browser = await puppeteer.launch({...options(setup), userDataDir: `${setup.dir}/${order.round}`});
    },
    round: async (order) => {
      const pages = [];
      for (let i = 0; i < setup.sessions; i++) pages.push(await visit(browser, setup, `held-${i}`));
      return atOnce(order, setup.window, (session) => toggle(pages[session]));
    },
    clear,
    close: clear,
  };
};

await serve({
  async hold(setup) {
    const browser = await puppeteer.launch(launch(setup));
    const pages = [];
    for (let i = 0; i < setup.sessions; i++) pages.push(await visit(browser, setup, `held-${i}`));
    return {
      round: (order) => atOnce(order, setup.window, (session) => toggle(pages[session])),
      close: () => browser.close(),
    };
  },
  memory: memory(launch),
  'memory-full': memory(launchFull),
});
