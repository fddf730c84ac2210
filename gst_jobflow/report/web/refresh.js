// Loads the page again every ten seconds and keeps place, open parts and figures. Without scripts a header does it.
"use strict";
(() => {
  const everyMs = 10000;
  let busy = false;

  function places() {
    return [...document.querySelectorAll("main .scroll")].map((box) => box.scrollLeft);
  }

  function swap(fresh) {
    const old = document.querySelector("main");
    const y = window.scrollY;
    const across = places();
    const open = new Set([...old.querySelectorAll("details[open] > summary")].map((each) => each.textContent));
    const pictures = new Map([...old.querySelectorAll("img")].map((each) => [each.getAttribute("src"), each]));
    for (const image of fresh.querySelectorAll("img")) {
      const known = pictures.get(image.getAttribute("src"));
      if (known) image.replaceWith(known);
    }
    for (const summary of fresh.querySelectorAll("details > summary")) {
      summary.parentElement.open = open.has(summary.textContent);
    }
    old.replaceWith(fresh);
    document.querySelectorAll("main .scroll").forEach((box, number) => { box.scrollLeft = across[number] || 0; });
    window.scrollTo({ top: y, behavior: "instant" });
  }

  function tell(text, stale) {
    const told = document.getElementById("told");
    told.textContent = text;
    told.className = stale ? "stale" : "";
  }

  let last = document.querySelector("main").innerHTML;

  async function look() {
    if (busy || document.hidden || String(window.getSelection())) return;
    busy = true;
    try {
      const answer = await fetch(window.location.href, { redirect: "error" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("main");
      if (fresh.innerHTML !== last) {
        last = fresh.innerHTML;
        swap(document.adoptNode(fresh));
      }
      tell(page.getElementById("told").textContent, !answer.ok);
    } catch {
      tell("gst web does not answer; this page is no longer updated.", true);
    } finally {
      busy = false;
    }
  }

  window.setInterval(look, everyMs);
  document.addEventListener("visibilitychange", look);
})();
