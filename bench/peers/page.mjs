// What every peer does in the page. The functions run in the page, so each
// stands alone.

// boot registers both callbacks and makes the visitor known to the widget, which
// queues the calls if it is not there yet. It ends when the widget's frame has
// loaded with that visitor.
export const boot = ({appId, user}) =>
  new Promise((booted) => {
    document.addEventListener('load', ({target}) => {
      if (target.name === 'bs-chatbot-widget-frame' && target.src.includes(user)) booted(true);
    }, true);
    window.bench = {heard: null};
    const hear = (what) => () => {
      const {heard} = window.bench;
      window.bench.heard = null;
      heard?.(what);
    };
    window.BotStarApi('onOpen', hear('open'));
    window.BotStarApi('onClose', hear('close'));
    window.BotStarApi('boot', {appId, user: {user_id: user}});
  });

// mounted is the proof: the widget's flag, and one frame of it.
export const mounted = () =>
  window.BotStarUp === true && document.querySelectorAll('iframe[name="bs-chatbot-widget-frame"]').length === 1;

// say opens or closes the window, and returns what the callback told.
export const say = (what) =>
  new Promise((heard) => {
    window.bench.heard = heard;
    window.BotStarApi(what);
  });
