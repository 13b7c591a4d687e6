// The results: preview beside them, keyboard, selection.
const list = document.querySelector("[data-hits]");
const pane = document.querySelector("[data-preview]");
const wide = matchMedia("(min-width: 1181px)");
let current = null;

const hits = () => [...list.querySelectorAll(".hit")];
const linkOf = (hit) => hit.querySelector(".subject");

async function show(hit, focus) {
  current?.classList.remove("current");
  current = hit;
  hit.classList.add("current");
  if (focus) linkOf(hit).focus({ preventScroll: true });
  hit.scrollIntoView({ block: "nearest" });
  if (!wide.matches) return;
  const answer = await fetch(linkOf(hit).href, { headers: { "Postkeep-Fragment": "1" } });
  if (current !== hit) return; // another one was chosen meanwhile
  pane.innerHTML = await answer.text(); // our own page, with everything from the mail escaped
  pane.hidden = false;
  pane.scrollTop = 0;
}

if (list && pane) {
  list.addEventListener("click", (event) => {
    const link = event.target.closest(".subject");
    if (!link || !wide.matches || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    show(link.closest(".hit"), true);
  });
  // Views inside the preview stay inside it.
  pane.addEventListener("click", async (event) => {
    const tab = event.target.closest(".tabs a:not([download])");
    if (!tab) return;
    event.preventDefault();
    const answer = await fetch(tab.href, { headers: { "Postkeep-Fragment": "1" } });
    pane.innerHTML = await answer.text();
  });
  if (wide.matches && hits()[0]) show(hits()[0], false);
}

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || event.target.closest("input:not([type=checkbox]), textarea, select")) return;
  const at = list ? hits().indexOf(current) : -1;
  const moves = { j: 1, k: -1 };
  if (event.key === "/") {
    const box = document.querySelector("#q");
    if (!box) return;
    event.preventDefault();
    box.focus();
    box.select();
  } else if (list && event.key in moves) {
    const next = hits()[Math.max(0, at + moves[event.key])];
    if (next) show(next, true);
  } else if (current && event.key === "o") {
    location.href = linkOf(current).href;
  } else if (current && event.key === "x") {
    const box = current.querySelector("input[type=checkbox]");
    box.checked = !box.checked;
    box.dispatchEvent(new Event("change", { bubbles: true }));
  } else if (event.key === "u") {
    document.querySelector(".crumb")?.click();
  }
});

// What the buttons above the results act on is said beside them.
for (const form of document.querySelectorAll("[data-select]")) {
  const says = form.querySelector("[data-count]");
  const all = says.textContent;
  form.addEventListener("change", () => {
    const n = form.querySelectorAll("input[name=id]:checked").length;
    says.textContent = n ? `${n} ✓` : all;
  });
}
