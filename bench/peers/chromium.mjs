// How the peers start Chromium: their own flags, and those of the set-up that
// let it find the stand-ins. The runner does not start them as root.

const shared = (setup) => setup.flags;

// launch returns puppeteer's options: the headless shell over a pipe, which is
// its fastest way.
export const launch = (setup) => ({
  executablePath: setup.binary, args: shared(setup), headless: 'shell', pipe: true, userDataDir: setup.dir,
});

// launchFull returns the options for the whole browser, as people run it.
export const launchFull = (setup) => ({
  executablePath: setup.binary, args: shared(setup), headless: true, userDataDir: setup.dir,
});

// launchPlaywright returns playwright's options. It speaks over a pipe anyway.
export const launchPlaywright = (setup) => ({
  executablePath: setup.binary, args: shared(setup), headless: true, chromiumSandbox: true,
});
