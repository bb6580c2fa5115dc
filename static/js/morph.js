// Brings a part of the page up to new HTML by touching only what differs: focus, selection,
// open <details> and what a person has typed stay where they are.
const keyOf = (node) => (node.nodeType === 1 ? node.dataset.key || node.id || "" : "");

export function morph(target, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const focused = target.contains(document.activeElement) ? document.activeElement : null;
  children(target, template.content);
  // A row that has moved to another place took the focus with it.
  if (focused && focused.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

function children(have, want) {
  const wanted = new Set();
  for (const child of want.children) if (keyOf(child)) wanted.add(keyOf(child));
  const known = new Map();
  for (const child of [...have.children]) {
    const key = keyOf(child);
    if (key && !wanted.has(key)) child.remove();
    else if (key) known.set(key, child);
  }
  let at = have.firstChild;
  for (const next of [...want.childNodes]) {
    const key = keyOf(next);
    let same = null;
    if (key) same = known.get(key) || null;
    else if (at && !keyOf(at) && at.nodeType === next.nodeType) same = at;
    if (same && same.nodeName !== next.nodeName) same = null;
    if (!same) {
      have.insertBefore(next, at);
      continue;
    }
    if (same === at) at = at.nextSibling;
    else have.insertBefore(same, at);
    node(same, next);
  }
  while (at) {
    const rest = at.nextSibling;
    at.remove();
    at = rest;
  }
}

function node(have, want) {
  if (have.nodeType !== 1) {
    if (have.data !== want.data) have.data = want.data;
    return;
  }
  if (have.isEqualNode(want)) return;
  // What a person or a component has set itself is not the server's to change.
  const own = have.nodeName === "DETAILS" ? ["open"] : have.hasAttribute("x-data") ? ["hidden"] : ["aria-pressed"];
  for (const { name, value } of [...want.attributes]) {
    if (have.getAttribute(name) !== value && !name.startsWith("@")) have.setAttribute(name, value);
  }
  for (const { name } of [...have.attributes]) if (!want.hasAttribute(name) && !own.includes(name)) have.removeAttribute(name);
  if (have.nodeName === "PROGRESS") have.value = want.value;
  if (have.nodeName === "INPUT" && have.type === "hidden") have.value = want.value;
  children(have, want);
}
