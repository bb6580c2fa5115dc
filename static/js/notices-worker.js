// Shows notifications for notices.js and nothing else: its scope is this folder, so no page and no request passes here.
// A click goes to a tab of the site, which opens the link; without one a new tab opens.
self.addEventListener("install", () => self.skipWaiting());

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const site = new URL("../../", self.registration.scope).href;
  const link = new URL((event.notification.data && event.notification.data.link) || site, site);
  if (link.origin === self.location.origin) event.waitUntil(open(site, link.href));
});

async function open(site, link) {
  const tabs = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const ours = tabs.filter((tab) => tab.url.startsWith(site));
  const tab = ours.find((one) => one.focused) || ours.find((one) => one.visibilityState === "visible") || ours[0];
  if (!tab) return self.clients.openWindow(link);
  tab.postMessage({ open: link });
  return tab.focus();
}
