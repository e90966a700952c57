// What every peer does in the page. The functions run in the page, so each
// stands alone.

export const frameName = 'bs-chatbot-widget-frame';

// mounted says whether the widget is there: its flag and its frame.
export const mounted = () =>
  window.BotStarUp === true && document.querySelector('iframe[name="bs-chatbot-widget-frame"]') !== null;

// boot makes the visitor known to the widget, and registers both callbacks.
export const boot = ({appId, user}) => {
  window.bench = {heard: null};
  const hear = (what) => () => {
    const {heard} = window.bench;
    window.bench.heard = null;
    heard?.(what);
  };
  window.BotStarApi('onOpen', hear('open'));
  window.BotStarApi('onClose', hear('close'));
  window.BotStarApi('boot', {appId, user: {user_id: user}});
  return true;
};

// say opens or closes the window, and returns what the callback told.
export const say = (what) =>
  new Promise((heard) => {
    window.bench.heard = heard;
    window.BotStarApi(what);
  });

// ready runs in the widget's frame: the proof that it has loaded.
export const ready = () => document.readyState;
