// Says what a cron means while one types it: asks the server 300 ms after the last key. Without this script "Check" does.
const field = document.querySelector("[data-cron-url]");
const WAIT_MS = 300;

if (field) {
  const [box, words, next] = ["meaning", "meaning-words", "meaning-next"].map((id) => document.getElementById(id));
  let timer;
  let asked = new AbortController();

  const show = (text, runs) => {
    box.hidden = !text;
    words.textContent = text;
    next.replaceChildren(...runs.map(({ told }) => Object.assign(document.createElement("li"), { textContent: told })));
  };

  const ask = async () => {
    asked.abort();
    asked = new AbortController();
    if (!field.value.trim()) return show("", []);
    try {
      const url = `${field.dataset.cronUrl}?${new URLSearchParams({ cron: field.value })}`;
      const answer = await fetch(url, { headers: { Accept: "application/json" }, signal: asked.signal });
      const found = await answer.json();
      if (answer.ok) show(found.words || found.cron, found.next);
      else if (answer.status === 400) show(found.error, []);
      box.classList.toggle("bad", !answer.ok);
    } catch {
      // A later key has ended this question, or the server does not answer: the form says so when it is sent.
    }
  };

  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, WAIT_MS);
  });
}
