// A link in a mail may lead to a place in its page (#limits). The browser keeps that part when the server leads to the sign-in
// page, and sends it to nobody: here it goes into `next`, so that signing in leads to the place. Without script: to the page.
const field = document.querySelector("input[name=next]");
if (field && field.value && location.hash.length > 1 && !field.value.includes("#")) {
  field.value += location.hash;
  for (const link of document.querySelectorAll("a[hreflang]")) {
    const url = new URL(link.href);
    url.searchParams.set("next", field.value);
    link.href = url.href;
  }
}
