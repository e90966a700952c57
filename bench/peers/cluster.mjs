// puppeteer-cluster, CONCURRENCY_CONTEXT: a new context for every visitor.
import {Cluster} from 'puppeteer-cluster';
import puppeteer from 'puppeteer-core';
import {inTurns, serve} from './contend.mjs';
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

await serve({cold: cold(launch), 'cold-full': cold(launchFull)});
