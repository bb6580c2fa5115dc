// Asks before a form with data-confirm-title is sent. One listener on the document, so forms that a live update
// brings are asked too. Without this script the field "ask" makes the server ask on a page of its own.
const sure = new WeakSet();

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method === "dialog") return;
  if (form.dataset.confirmTitle && !sure.delete(form)) {
    event.preventDefault();
    ask(form, event.submitter);
    return;
  }
  // A second click while the first is under way would only be answered "changed meanwhile".
  if (event.defaultPrevented || form.method !== "post") return;
  setTimeout(() => form.querySelectorAll("button[type=submit]").forEach((button) => (button.disabled = true)), 0);
});

// The back button may bring the page as it was left.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) document.querySelectorAll("form button:disabled").forEach((button) => (button.disabled = false));
});

function ask(form, submitter) {
  const dialog = document.getElementById("ask");
  const { confirmTitle, confirmText, confirmAction, confirmDanger, confirmNo } = form.dataset;
  document.getElementById("ask-title").textContent = confirmTitle;
  document.getElementById("ask-text").textContent = confirmText;
  // What else the form asks stands in it, disabled; the dialog shows a copy, and the answer goes back as a hidden field.
  const more = document.getElementById("ask-more");
  more.replaceChildren(...[...form.querySelectorAll("[data-confirm-more] > fieldset")].map((part) => part.cloneNode(true)));
  for (const part of more.children) part.disabled = false;
  const yes = document.getElementById("ask-yes");
  yes.textContent = confirmAction;
  yes.className = confirmDanger === undefined ? "button primary" : "button danger";
  const no = dialog.querySelector('[value="no"]');
  no.dataset.plain = no.dataset.plain || no.textContent;
  no.textContent = confirmNo || no.dataset.plain;
  dialog.returnValue = "no";
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "yes") return;
    const asked = form.querySelector('input[name="ask"]');
    if (asked) asked.value = "tree"; // asked again only when jobs wait for these and nothing was chosen
    for (const { name, value } of more.querySelectorAll("input:checked")) {
      const field = form.querySelector(`input[type=hidden][name="${CSS.escape(name)}"]`) || form.appendChild(document.createElement("input"));
      Object.assign(field, { type: "hidden", name, value });
    }
    sure.add(form);
    form.requestSubmit(submitter);
    if (asked) asked.value = "1"; // for the back button
  }, { once: true });
  dialog.showModal();
}
