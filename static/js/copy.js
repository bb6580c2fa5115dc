// "Copy": the text in data-copy or that of the element which data-copy-from names.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (!button) return;
  const { copy, copyFrom, copied } = button.dataset;
  const text = copyFrom ? document.querySelector(copyFrom).textContent : copy;
  if (!(await put(text))) return;
  document.getElementById("announce").textContent = copied;
  if (button.dataset.busy) return;
  button.dataset.busy = "1";
  const label = button.querySelector("span");
  const icon = button.querySelector("use");
  const [word, picture] = [label && label.textContent, icon.getAttribute("href")];
  icon.setAttribute("href", picture.replace(/#.*/, "#check"));
  if (label) label.textContent = copied;
  setTimeout(() => {
    icon.setAttribute("href", picture);
    if (label) label.textContent = word;
    delete button.dataset.busy;
    document.getElementById("announce").textContent = "";
  }, 2000);
});

async function put(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No clipboard outside https and loopback: the old way.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
