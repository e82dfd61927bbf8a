// What a page shows while it waits for an answer, and says when none comes. Requests of htmx only read: whatever
// failed, nothing was changed, and asking again is safe.
"use strict";

(() => {
  const main = document.querySelector("main");

  // The line on top is drawn by the stylesheet, and only after a moment.

  const awaited = new Set();

  function wait(one) {
    awaited.add(one);
    main?.setAttribute("aria-busy", "true");
  }

  function stopWaiting(...those) {
    those.forEach((one) => awaited.delete(one));
    if (!awaited.size) main?.removeAttribute("aria-busy");
  }

  // Of two things asked one after the other the page shows the second, whichever answer comes first.

  let newest = null;
  const ofPage = new WeakSet();

  const isStale = ({ xhr, target }) => target.id === "page" && newest !== null && xhr !== newest;

  // What else was asked on a page goes with it: its answer would change the address, and nothing that is seen.
  function forgetOthers(xhr) {
    for (const one of awaited) {
      if (one !== xhr && ofPage.has(one)) one.onload = null;
    }
  }

  // Focus stays where it was, on what stands there now.

  let focused = null;

  const likeness = (element) =>
    `${element.tagName} ${element.name || element.getAttribute("aria-label") || element.textContent.trim()}`;

  function rememberFocus(target) {
    const element = document.activeElement;
    focused = target.contains(element) && element !== document.body ? element : null;
  }

  function keepFocus() {
    if (!focused || focused.isConnected || document.activeElement !== document.body) return;
    const wanted = likeness(focused);
    const alike = [...main.querySelectorAll(focused.tagName)].find((element) => likeness(element) === wanted);
    (alike ?? main).focus({ preventScroll: true });
    focused = null;
  }

  // No answer, or none that could be shown

  function reasonOf(xhr) {
    if (xhr.status === 429) return "This was asked too often in a short time. Nothing was changed. Wait a moment, then try again.";
    if (xhr.status < 400) return "No answer came: the network may be gone, or the service is busy. Nothing was changed.";
    const id = xhr.getResponseHeader("X-Request-Id");
    return `Something broke on our side. Nothing was changed.${id ? ` The number to quote is ${id}.` : ""}`;
  }

  function hideTrouble() {
    document.getElementById("trouble")?.remove();
  }

  function showTrouble({ xhr, elt, requestConfig }) {
    const line = document.createElement("div");
    const button = document.createElement("button");
    line.id = "trouble";
    line.className = "note-line bad trouble";
    line.setAttribute("role", "alert");
    button.type = "button";
    button.className = "button small";
    button.textContent = "Try again";
    button.addEventListener("click", (event) => askAgain(elt, requestConfig, event));
    line.append(reasonOf(xhr), button);
    hideTrouble();
    main.prepend(line);
  }

  function askAgain(element, { verb, path }, event) {
    // What asked may be gone by now, with the page it stood on.
    if (!element.isConnected) return location.reload();
    // What fails again says so itself.
    window.htmx.ajax(verb, path, { source: element, event }).catch(() => {});
  }

  // Signed out, refused or gone: the page that says so is opened whole.
  function openWhole(event) {
    const { xhr, pathInfo, boosted } = event.detail;
    if (xhr.status === 429 || xhr.status >= 500) return false;
    const asked = new URL(pathInfo.finalRequestPath, location.href);
    const isElsewhere = new URL(xhr.responseURL || asked).pathname !== asked.pathname;
    if (!isElsewhere && !(boosted && xhr.status >= 400)) return false;
    event.preventDefault();
    wait(asked);
    if (boosted) location.assign(asked);
    else location.reload();
    return true;
  }

  document.addEventListener("htmx:beforeSend", ({ detail: { xhr, target, requestConfig } }) => {
    // A page that looks again by itself keeps nobody waiting: nothing triggered its request.
    if (!requestConfig.triggeringEvent) return;
    wait(xhr);
    if (target.id === "page") {
      newest = xhr;
      ofPage.add(xhr);
    }
    xhr.addEventListener("loadend", () => {
      stopWaiting(xhr);
      if (xhr === newest) newest = null;
    });
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, target } = event.detail;
    if (isStale(event.detail)) event.preventDefault();
    if (event.defaultPrevented || openWhole(event)) return;
    rememberFocus(target);
    if (target.id === "page") forgetOthers(xhr);
  });
  document.addEventListener("htmx:afterSettle", keepFocus);
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    if (detail.successful) hideTrouble();
  });
  for (const failure of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) {
    document.addEventListener(failure, ({ detail }) => showTrouble(detail));
  }
  document.addEventListener("submit", (event) => {
    // A form that is answered by a file leaves the page where it is, and nothing says when that came.
    if (!event.defaultPrevented && event.target.method !== "dialog" && !("file" in event.target.dataset)) wait(event.target);
  });
  // A page that is come back to waits for nothing.
  addEventListener("pageshow", () => stopWaiting(...awaited));
})();
