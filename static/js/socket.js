// The WebSocket that names what has changed. It comes back by itself: after 1 s at first, 60 s at most, with jitter, so that
// a hundred pages do not return at once. A socket that is silent for 25 s is given up: the server speaks every 5 s.
const SILENT = 25000;
const LONGEST = 60000;
const ENDED = 4401; // the session is over

// `told(message)` for each message, `lost()` when pages must ask by themselves, `over()` when the session has ended.
export function socket(address, { told, lost, over }) {
  let line = null;
  let open = false; // since the first message: a proxy may open a socket and pass nothing
  let timer = 0;
  let silence = 0;
  let wait = 1000;
  let heard = 0;
  let wanted = false;

  function listen(ms) {
    clearTimeout(silence);
    silence = setTimeout(() => end(true), ms);
  }
  function begin() {
    clearTimeout(timer);
    if (line || !wanted || !window.WebSocket) return;
    const url = new URL(address, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const mine = new WebSocket(url);
    line = mine;
    listen(SILENT);
    mine.onmessage = (event) => {
      if (line !== mine) return;
      const first = !open;
      open = true;
      wait = 1000;
      heard = Date.now();
      listen(SILENT);
      told(JSON.parse(event.data), first);
    };
    mine.onclose = (event) => {
      if (line !== mine) return;
      if (event.code === ENDED) wanted = false;
      end(event.code !== ENDED);
      if (event.code === ENDED) over();
    };
  }
  function end(again) {
    clearTimeout(silence);
    const [old, was] = [line, open];
    line = null;
    open = false;
    if (old) old.close();
    if (again && wanted) {
      clearTimeout(timer);
      timer = setTimeout(begin, wait * (0.5 + Math.random()));
      wait = Math.min(wait * 2, LONGEST);
    }
    if (was && again) lost();
  }

  return {
    get open() {
      return open;
    },
    // Also after a sleep: a socket that should have spoken meanwhile is not waited for.
    show() {
      wanted = true;
      wait = 1000;
      if (line && open && Date.now() - heard > 12000) end(false);
      begin();
    },
    hide() {
      wanted = false;
      clearTimeout(timer);
      end(false);
    },
  };
}
