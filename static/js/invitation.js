// The token of an invitation stands behind the # of its link: it goes into the form, out of the address, and is sent.
const form = document.querySelector("form[data-invitation]");
const token = location.hash.slice(1);
if (form && token) {
  history.replaceState(null, "", location.pathname);
  form.elements.invitation.value = token;
  form.requestSubmit();
}
