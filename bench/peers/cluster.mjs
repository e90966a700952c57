// puppeteer-cluster, CONCURRENCY_CONTEXT: a new context for every visitor, one
// after another, or a number of them that are held.
import {Cluster} from 'puppeteer-cluster';
import puppeteer from 'puppeteer-core';
import {atOnce, inTurns, serve} from './contend.mjs';
import {launch, launchFull} from './chromium.mjs';
import * as inPage from './page.mjs';

const cold = (options) => async (setup) => {
  const cluster = await Cluster.launch({
    concurrency: Cluster.CONCURRENCY_CONTEXT, maxConcurrency: 1, puppeteer, puppeteerOptions: options(setup),
  });
  await cluster.task(async ({page, data: user}) => {
    await page.goto(setup.url);
    await page.evaluate(inPage.boot, {appId: setup.app_id, user});
    return page.evaluate(inPage.mounted);
  });
  return {
    round: (order) => inTurns(order, async (i) => {
      const user = `cold-${order.round}-${i}`;
      if (!await cluster.execute(user)) throw new Error('the widget is not mounted');
    }),
    close: () => cluster.close(),
  };
};

// hold holds one context for each session, in a browser that is new in every
// round.
const hold = (options) => async (setup) => {
  let cluster, pages, release;
  const clear = async () => {
    release?.();
    await cluster?.close();
    cluster = release = undefined;
  };
  return {
    prepare: async (order) => {
      cluster = await Cluster.launch({
        concurrency: Cluster.CONCURRENCY_CONTEXT, maxConcurrency: setup.sessions, timeout: 2 ** 31 - 1,
        puppeteer, puppeteerOptions: {...options(setup), userDataDir: `${setup.dir}/${order.round}`},
      });
      pages = [];
    },
    round: async (order) => {
      const released = new Promise((done) => { release = done; });
      const open = (user) => new Promise((opened, failed) => {
        cluster.execute(async ({page}) => {
          await page.goto(setup.url);
          await page.evaluate(inPage.boot, {appId: setup.app_id, user});
          pages.push({page, open: false});
          opened();
          await released;
        }).catch(failed);
      });
      for (let i = 0; i < setup.sessions; i++) await open(`held-${i}`);
      return atOnce(order, setup.window, async (session) => {
        const held = pages[session];
        const what = held.open ? 'close' : 'open';
        const heard = await held.page.evaluate(inPage.say, what);
        if (heard !== what) throw new Error(`asked to ${what}, heard ${heard}`);
        held.open = !held.open;
      });
    },
    clear,
    close: clear,
  };
};

await serve({cold: cold(launch), 'cold-full': cold(launchFull), hold: hold(launch), 'hold-full': hold(launchFull)});
