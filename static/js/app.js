// What the pages gain with JavaScript: charts, the theme, the folded rail, keys, a command palette, shift-clicks.
// Every page is complete without it.
"use strict";

(() => {
  const root = document.documentElement;
  const page = (selector, within = document) => [...within.querySelectorAll(selector)];

  function remember(name, value) {
    try {
      localStorage.setItem(name, value);
    } catch {
      // Private windows may refuse storage; the choice then lasts for this page.
    }
  }

  // Charts

  // `ast` with the bundled interpreter evaluates expressions without eval, as the page's policy demands.
  const embedding = {
    ast: true,
    actions: false,
    renderer: "svg",
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true, theme: "page" },
  };

  function drawCharts(within) {
    for (const place of page("[data-chart]:not([data-drawn])", within)) {
      const spec = document.getElementById(place.dataset.chart);
      if (!spec || !window.vegaEmbed) continue;
      place.dataset.drawn = "";
      window
        .vegaEmbed(place, JSON.parse(spec.textContent), embedding)
        .then(() => page("svg", place).forEach((svg) => svg.setAttribute("aria-hidden", "true")))
        .catch(() => {
          place.textContent = "The chart could not be drawn. The table below has its numbers.";
        });
    }
  }

  // Paper is narrower than the window, and charts measure their container only when the window changes.
  function layOut(onPaper) {
    root.toggleAttribute("data-paper", onPaper);
    dispatchEvent(new Event("resize"));
  }

  // Theme and rail

  function toggleTheme() {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    remember("theme", root.dataset.theme);
  }

  function toggleRail() {
    const narrow = root.dataset.rail !== "narrow";
    root.dataset.rail = narrow ? "narrow" : "wide";
    remember("rail", root.dataset.rail);
    page("[data-act=rail]").forEach((button) => button.setAttribute("aria-expanded", String(!narrow)));
    // Charts measure their container only when the window changes.
    dispatchEvent(new Event("resize"));
  }

  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  }

  // The command palette: every place the page's navigation can go, and things that the server finds by name

  function openPalette() {
    const palette = document.getElementById("palette");
    if (!palette || palette.open) return;
    palette.querySelector("#palette-found").replaceChildren();
    palette.querySelector("#palette-pages").replaceChildren(
      ...page("[data-go]").map((link) => {
        const entry = document.createElement("li");
        const anchor = document.createElement("a");
        anchor.href = link.href;
        anchor.textContent = link.textContent.trim();
        entry.append(anchor);
        return entry;
      }),
    );
    const search = palette.querySelector("input");
    search.value = "";
    palette.showModal();
    search.focus();
  }

  function filterPalette(search) {
    const wanted = search.value.trim().toLowerCase();
    for (const entry of page("#palette-pages li", search.closest("dialog"))) {
      entry.hidden = !entry.textContent.toLowerCase().includes(wanted);
    }
  }

  function movePalette(event) {
    const links = page("li:not([hidden]) a", event.target.closest("dialog"));
    const here = links.indexOf(document.activeElement);
    if (event.key === "Enter" && here < 0 && links.length) links[0].click();
    if (event.key === "ArrowDown") links[Math.min(here + 1, links.length - 1)]?.focus();
    if (event.key === "ArrowUp") (links[here - 1] ?? event.target.closest("dialog").querySelector("input")).focus();
    if (event.key.startsWith("Arrow")) event.preventDefault();
  }

  // Controls that ask as soon as something is chosen

  // Chosen while an answer was on its way: asked of the page that it brings, whose controls replace these.
  const late = new Map();

  function ask(select) {
    if (select.form.matches(".htmx-request")) return late.set(select.name, select.value);
    late.clear();
    select.form.requestSubmit();
  }

  function askLate(within) {
    const missed = page("form[data-auto] select", within).filter(
      (select) => late.has(select.name) && late.get(select.name) !== select.value,
    );
    if (!missed.length) return;
    for (const select of missed) select.value = late.get(select.name);
    late.clear();
    missed[0].form.requestSubmit();
  }

  // Keys

  let afterG = 0;

  function goTo(letter) {
    page(`[data-go="${CSS.escape(letter)}"]`)[0]?.click();
  }

  function closeOpen() {
    for (const open of page("details.popover[open], details.switcher[open]")) {
      const focused = open.contains(document.activeElement);
      open.open = false;
      if (focused) open.querySelector("summary").focus();
    }
    if (location.hash === "#rail") location.hash = "main";
  }

  const keys = {
    "/": () => page("[data-search]")[0]?.focus(),
    "[": () => page("[data-range=previous]")[0]?.click(),
    "]": () => page("[data-range=next]")[0]?.click(),
    Escape: closeOpen,
  };

  function pressed(event) {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      openPalette();
      return;
    }
    if (event.target.closest("dialog.palette")) return movePalette(event);
    const typing = event.target.closest("input, select, textarea, [contenteditable]");
    if (event.ctrlKey || event.metaKey || event.altKey || (typing && event.key !== "Escape")) return;
    if (Date.now() - afterG < 1500) {
      afterG = 0;
      return goTo(event.key);
    }
    if (event.key === "g") afterG = Date.now();
    if (!keys[event.key]) return;
    if (event.key === "/") event.preventDefault();
    keys[event.key]();
  }

  function clicked(event) {
    const named = event.target.closest("a[data-exclude]");
    if (named && event.shiftKey) {
      event.preventDefault();
      location.assign(named.dataset.exclude);
      return;
    }
    const button = event.target.closest("[data-act], [data-copy]");
    if (button?.dataset.act === "theme") toggleTheme();
    if (button?.dataset.act === "rail") toggleRail();
    if (button?.dataset.act === "print") print();
    if (button?.dataset.act === "palette") openPalette();
    if (button?.dataset.copy) copy(button);
    for (const open of page("details.popover[open], details.switcher[open]")) {
      if (!open.contains(event.target)) open.open = false;
    }
  }

  document.addEventListener("keydown", pressed);
  document.addEventListener("click", clicked);
  document.addEventListener("input", (event) => {
    if (event.target.closest("dialog.palette")) filterPalette(event.target);
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("form[data-auto] select")) ask(event.target);
    // A value of one dimension is none of another.
    if (event.target.id === "filter-add") document.getElementById("filter-value").value = "";
  });
  for (const field of page("[data-own-zone]")) {
    if (field.value === "UTC") field.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  }
  addEventListener("beforeprint", () => layOut(true));
  addEventListener("afterprint", () => layOut(false));
  document.addEventListener("htmx:load", (event) => {
    drawCharts(event.detail.elt);
    askLate(event.detail.elt);
  });
  page("[data-act=rail]").forEach((button) => button.setAttribute("aria-expanded", String(root.dataset.rail !== "narrow")));
  drawCharts(document);
})();
